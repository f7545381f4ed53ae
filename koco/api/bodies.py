"""Bodies: what is sent to a route that takes JSON must say so, if it says anything."""

from typing import Any

from litestar import Request

from koco.api import routes
from koco.errors import MediaTypeError


async def check(request: Request[Any, Any, Any]) -> None:
    """Refuse a body of another media type than JSON; the application's `before_request`.

    A form of some other site's page is one of those: a browser sends no JSON for it unasked.
    """
    given = request.headers.get("content-type")
    if given is None or not routes.takes_json(request.route_handler):
        return
    kind = given.partition(";")[0].strip().lower()
    if kind != routes.JSON and not kind.endswith("+json"):
        raise MediaTypeError(
            f"the body is {given[:80]!r}, and JSON is taken here",
            hint="send `Content-Type: application/json`, as `curl --json` does",
        )
