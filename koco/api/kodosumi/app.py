"""The application with Kodosumi's routes, and the decision which requests are for it."""

import copy
import functools
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.kodosumi import credentials, refusals
from koco.control.container import Parts

#: The routes that take no key.
PUBLIC = frozenset(
    {
        *("log_in_by_form", "log_in_by_json", "refuse_login", "show_no_page"),
        "options_handler",
    }
)

#: The first names of the paths that belong to Kodosumi's API alone.
_NAMES = frozenset(
    {
        *("", "-", "admin", "api", "audit", "boot", "deploy", "exchange", "expose", "files"),
        *("flow", "inputs", "lock", "login", "logout", "maintenance", "outputs", "role"),
        *("schema", "serve", "timeline", "wallets"),
    }
)
_NO_STORE = (b"cache-control", b"no-store")
_HEADER = credentials.HEADER.lower().encode()
_COOKIE = f"{credentials.COOKIE}=".encode()


def wrap(app: Any, state: State) -> Any:
    """Wrap koco's application so that Kodosumi's API is served, too, if the setting allows it.

    `state` is the state of that application.
    """
    parts: Parts = state.parts
    settings = parts.settings

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if settings.kodosumi_api and scope["type"] == "http" and _is_kodosumis(scope):
            own = _bind(state)
            # The hooks of koco's application, such as the audit log, are in `send` already.
            scope["app"] = scope["litestar_app"] = own
            await own.asgi_handler(scope, receive, _without_store(send))
        else:
            await app(scope, receive, send)

    return serve


def _is_kodosumis(scope: Any) -> bool:
    root, slash, rest = scope["path"].partition("/")
    if root or not slash:
        return False  # such as `OPTIONS *`
    name = rest.partition("/")[0]
    if name in _NAMES:
        return True
    # koco has a path of that name. Kodosumi's clients ask with its header or cookie.
    headers = scope["headers"]
    return name == "health" and any(
        key == _HEADER or (key == b"cookie" and _COOKIE in value) for key, value in headers
    )


def _without_store(send: Any) -> Any:
    """Return a `send` whose answers are private to the caller, so that no cache keeps them."""

    async def send_private(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if all(name != _NO_STORE[0] for name, _ in headers):
                message["headers"] = [*headers, _NO_STORE]
        await send(message)

    return send_private


def _bind(state: State) -> Litestar:
    """Return the application for a control plane. Made at its first request."""
    if "kodosumi" not in state:
        app = copy.copy(make_routes())
        app.state = state
        state.kodosumi = app
    made: Litestar = state.kodosumi
    return made


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.kodosumi import routes

    app = Litestar(
        route_handlers=[route for module in routes.modules() for route in module.ROUTES],
        exception_handlers=refusals.HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_class=Request,
        # `Request` counts instead, because the limit is a setting that may change.
        request_max_body_size=None,
    )
    auth.check_guards(app, PUBLIC)
    return app
