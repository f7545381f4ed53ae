"""The application with A2A's routes, made at the first request for them."""

import functools
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from koco.api import protocol_app
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
    return protocol_app.wrap(app, state, name="a2a", takes=_takes, make_routes=make_routes)


def _takes(scope: Any) -> bool:
    path: str = scope["path"]
    return path.startswith("/a2a/") or path in _PATHS


def push_with(parts: Parts) -> None:
    """Have the webhooks of push notification configurations send what A2A says."""

    async def make(delivery: Delivery, webhook: Webhook) -> Content | None:
        from koco.api.agents.a2a.operations import notices

        return await notices.make(parts, delivery, webhook)

    parts.webhooks.contents["a2a"] = make


@functools.cache
def make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane."""
    # Imported here, because most control planes never serve them.
    from koco.api.agents.a2a import discovery, http_json, json_rpc, refusals

    modules = (discovery, http_json, json_rpc)
    routes = [route for module in modules for route in module.ROUTES]
    return protocol_app.make(routes, refusals.HANDLERS, public=PUBLIC)
