"""Parts of releases for tests: manifests, flows and origins with only the keys that matter."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from koco.control.services.bundles import Bundles
from koco.manifest import load
from koco.manifest.descriptions import FlowDescription
from koco.manifest.model import Manifest


def manifest(**keys: Any) -> Manifest:
    """Return a manifest with these keys, as it is read from the store. None is required."""
    return load.restore(msgspec.json.encode(keys).decode())


def flow(name: str = "flow", **more: Any) -> FlowDescription:
    """Return a flow without a form."""
    return FlowDescription(**{"name": name, "entrypoint": "m:f", "form": None, **more})


async def upload(bundles: Bundles, data: bytes) -> str:
    """Bring a bundle; return its hash."""
    sha256 = hashlib.sha256(data).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        yield data

    if not (await bundles.state(sha256))[1]:
        await bundles.receive(sha256, offset=0, length=len(data), body=body())
    return sha256
