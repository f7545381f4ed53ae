"""Refuse requests that a route would misunderstand, before the route is called."""

from typing import Any

from litestar import Request

from koco.api.openapi import annotations
from koco.errors import MediaTypeError, UsageError
from koco.spelling import nearest


async def check(request: Request[Any, Any, Any]) -> None:
    """Refuse unknown parameters and bodies of the wrong type (`before_request`)."""
    _check_query(request)
    _check_type(request)


def _check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that a route would ignore: `?sttus=error` would list everything."""
    if not request.scope["query_string"]:
        return
    known = annotations.query_names(request.route_handler)
    unknown = [] if known is None else [name for name in request.query_params if name not in known]
    if known is not None and unknown:
        near = nearest(unknown[0], known)
        takes = f"it takes: {', '.join(sorted(known)) or 'none'}"
        raise UsageError(
            f"there is no parameter {unknown[0][:80]!r} here",
            hint=f"did you mean {near!r}?" if near else takes,
        )


def _check_type(request: Request[Any, Any, Any]) -> None:
    """Refuse a body that is not JSON if the route takes JSON.

    This also stops forms on other sites: a browser does not send JSON from a form.
    """
    given = request.headers.get("content-type")
    if given is None or not annotations.takes_json(request.route_handler):
        return
    kind = given.partition(";")[0].strip().lower()
    if kind != annotations.JSON and not kind.endswith("+json"):
        raise MediaTypeError(
            f"the body is {given[:80]!r}, but must be JSON",
            hint="send `Content-Type: application/json`, as `curl --json` does",
        )
