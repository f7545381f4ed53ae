"""The application with the routes of MIP-003 and Sumi, made at the first request for them."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Litestar, Response
from litestar.datastructures import State

from koco.api import protocol_app
from koco.api.http import errors
from koco.api.http.errors import AnyRequest

#: The routes that take no key.
_PUBLIC = frozenset({"options_handler"})

#: The beginnings of the paths that belong here.
_BEGINNINGS = ("/mip003/", "/sumi/")


def wrap(app: Any, state: State) -> Any:
    """Wrap koco's application so that MIP-003 and Sumi are served, too.

    `state` is the state of that application.
    """
    return protocol_app.wrap(app, state, name="mip003", takes=_takes, make_routes=make_routes)


def _takes(scope: Any) -> bool:
    path: str = scope["path"]
    return path.startswith(_BEGINNINGS) or path == "/sumi"


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.agents.mip003 import routes, sumi

    return protocol_app.make([*routes.ROUTES, *sumi.ROUTES], _HANDLERS, public=_PUBLIC)


def _translate(handle: Callable[..., Response[Any]]) -> Callable[..., Response[Any]]:
    """Return a handler of an exception that refuses invalid inputs with 400, as MIP-003 says."""

    def answer(request: AnyRequest, exc: Exception) -> Response[Any]:
        given = handle(request, exc)
        if given.status_code == 422:
            given.status_code = 400
            given.content = msgspec.structs.replace(given.content, status=400)
        return given

    return answer


_HANDLERS: dict[Any, Any] = {kind: _translate(each) for kind, each in errors.HANDLERS.items()}
