"""The application with the routes of MIP-003 and Sumi, made at the first request for them."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.datastructures import State

from koco.api.http import auth, errors
from koco.api.http.request import Request as OwnRequest

AnyRequest = Request[Any, Any, Any]

#: The beginnings of the paths that belong here.
_BEGINNINGS = ("/mip003/", "/sumi/")


def wrap(app: Any, state: State) -> Any:
    """Wrap koco's application so that MIP-003 and Sumi are served, too.

    `state` is the state of that application.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(_BEGINNINGS) or path == "/sumi"):
            own = _bind(state)
            # The hooks of koco's application, such as the audit log, are in `send` already.
            scope["app"] = scope["litestar_app"] = own
            await own.asgi_handler(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


def _bind(state: State) -> Litestar:
    """Return the application for a control plane."""
    if "mip003" not in state:
        app = copy.copy(make_routes())
        app.state = state
        state.mip003 = app
    made: Litestar = state.mip003
    return made


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.agents.mip003 import routes, sumi

    app = Litestar(
        route_handlers=[*routes.ROUTES, *sumi.ROUTES],
        exception_handlers=_HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_class=OwnRequest,
        # `Request` counts instead, because the limit is a setting that may change.
        request_max_body_size=None,
    )
    auth.check_guards(app, frozenset({"options_handler"}))
    return app


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
