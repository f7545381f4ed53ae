"""The applications of other protocols beside koco's own, each made at the first request for it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.plugins.core import MsgspecDIPlugin

from koco.api.http import auth
from koco.api.http.json_response import JsonResponse
from koco.api.http.request import Request


class _Litestar(Litestar):
    """Litestar without its plugins for pydantic and attrs, which take 4 MB. Bodies are structs."""

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        return [*plugins, MsgspecDIPlugin()]


def make(
    routes: Sequence[Any],
    handlers: dict[Any, Any],
    *,
    public: frozenset[str] | None = None,
    **more: Any,
) -> Litestar:
    """Return an application with what all of ours have in common, and check its guards.

    `handlers` are those of exceptions, `public` the routes that take no key (by default koco's
    own). `more` is passed to litestar.
    """
    app = _Litestar(
        route_handlers=routes,
        exception_handlers=handlers,
        openapi_config=None,
        logging_config=None,
        request_class=Request,
        response_class=JsonResponse,
        # `Request` counts instead, because the limit is a setting that may change.
        request_max_body_size=None,
        **more,
    )
    auth.check_guards(app, public)
    return app


def bind(app: Litestar, state: State) -> Litestar:
    """Return an application for a control plane: its routes are shared, its state is not."""
    bound = copy.copy(app)
    bound.state = state
    return bound


def wrap(
    app: Any,
    state: State,
    *,
    name: str,
    takes: Callable[[Any], bool],
    make_routes: Callable[[], Litestar],
) -> Any:
    """Wrap koco's application so that another protocol is served, too.

    `state` is the state of that application, and keeps the protocol's as `name`. `takes` says by
    its scope whether a request over HTTP is for the protocol. `make_routes` returns all routes of
    it, without a state.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and takes(scope):
            if name not in state:
                state[name] = bind(make_routes(), state)
            own = state[name]
            # The hooks of koco's application, such as the audit log, are in `send` already.
            scope["app"] = scope["litestar_app"] = own
            await own.asgi_handler(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve
