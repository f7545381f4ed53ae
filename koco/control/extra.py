"""Whether the cluster's Ray brings what a service's own endpoint needs: Ray's extra `serve`."""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koco.control.checks import Finding
    from koco.control.parts import Parts

#: What `ray[serve]` installs and koco does not, wherever it brings what it needs itself.
_OF_SERVE = ("fastapi", "starlette")


async def check(_: "Parts", manifest: dict[str, Any]) -> "list[Finding]":
    """Return that there is no Ray Serve here, if the manifest has an app."""
    if not manifest.get("app") or all(importlib.util.find_spec(name) for name in _OF_SERVE):
        return []
    return [
        {
            "message": "the cluster's Ray has no Serve, which an app needs",
            "hint": "`pip install 'ray[serve]'` on each node, and start Ray there again",
            "path": ["app"],
        }
    ]
