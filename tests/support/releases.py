"""Parts of releases for tests: manifests, flows and origins with only the keys that matter."""

from typing import Any

import msgspec

from koco.manifest import load
from koco.manifest.descriptions import FlowDescription
from koco.manifest.model import Manifest


def manifest(**keys: Any) -> Manifest:
    """Return a manifest with these keys, as it is read from the store. None is required."""
    return load.restore(msgspec.json.encode(keys).decode())


def flow(name: str = "flow", **more: Any) -> FlowDescription:
    """Return a flow without a form."""
    return FlowDescription(**{"name": name, "entrypoint": "m:f", "form": None, **more})
