"""The application with A2A's routes, made at the first request for them."""

import copy
import functools
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from koco.api.http import auth
from koco.api.http.request import Request
from koco.control.container import Parts
from koco.control.webhooks.content import Content
from koco.store.webhook_model import Delivery, Webhook

#: The routes that take no key.
PUBLIC = frozenset({"show_public_card", "show_card_keys", "options_handler"})

#: The paths that belong here, besides those below `/a2a/`.
_PATHS = frozenset({"/a2a", "/.well-known/agent-card.json", "/.well-known/jwks.json"})


def wrap(app: Any, state: State) -> Any:
    """Wrap koco's application so that A2A is served, too.

    `state` is the state of that application.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith("/a2a/") or path in _PATHS):
            own = _bind(state)
            # The hooks of koco's application, such as the audit log, are in `send` already.
            scope["app"] = scope["litestar_app"] = own
            await own.asgi_handler(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


def push_with(parts: Parts) -> None:
    """Have the webhooks of push notification configurations send what A2A says."""

    async def make(delivery: Delivery, webhook: Webhook) -> Content | None:
        from koco.api.agents.a2a.operations import notices

        return await notices.make(parts, delivery, webhook)

    parts.webhooks.contents["a2a"] = make


def _bind(state: State) -> Litestar:
    """Return the application for a control plane."""
    if "a2a" not in state:
        from koco.api.agents.a2a.card_keys import CardKeys

        app = copy.copy(make_routes())
        app.state = state
        state.card_keys = CardKeys(state.parts.settings)
        state.a2a = app
    made: Litestar = state.a2a
    return made


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.agents.a2a import discovery, http_json, json_rpc, refusals

    modules = (discovery, http_json, json_rpc)
    app = Litestar(
        route_handlers=[route for module in modules for route in module.ROUTES],
        exception_handlers=refusals.HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_class=Request,
        # `Request` counts instead, because the limit is a setting that may change.
        request_max_body_size=None,
    )
    auth.check_guards(app, PUBLIC)
    return app
