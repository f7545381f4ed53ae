"""Serve's options in a manifest, against the Ray that will read them."""

import asyncio
from typing import TYPE_CHECKING, Any

from koco.cluster import options

if TYPE_CHECKING:
    from koco.control.checks import Finding
    from koco.control.parts import Parts


async def check(_: "Parts", manifest: dict[str, Any]) -> "list[Finding]":
    """Return what the installed Ray will not take of a manifest's `serve`."""
    if not (serve := manifest.get("serve")):
        return []
    # In a thread, and only here: importing Serve takes a third of a second and 50 MB.
    found = await asyncio.to_thread(options.problems_of, serve)
    return [{"message": each.message, "hint": each.hint, "path": [*each.path]} for each in found]
