"""The application with Kodosumi's routes, and the decision which requests are for it."""

import functools
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from koco.api import protocol_app
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

    def takes(scope: Any) -> bool:
        return settings.kodosumi_api and _is_kodosumis(scope)

    return protocol_app.wrap(app, state, name="kodosumi", takes=takes, make_routes=make_routes)


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


def _without_store(app: Any) -> Any:
    """Wrap an application so that its answers are private to the caller: no cache keeps them."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async def send_private(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if all(name != _NO_STORE[0] for name, _ in headers):
                    message["headers"] = [*headers, _NO_STORE]
            await send(message)

        await app(scope, receive, send_private)

    return serve


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.kodosumi import routes

    all_routes = [route for module in routes.modules() for route in module.ROUTES]
    app = protocol_app.make(all_routes, refusals.HANDLERS, public=PUBLIC)
    app.asgi_handler = _without_store(app.asgi_handler)
    return app
