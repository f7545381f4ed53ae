"""What differs between what is live and what is to be: pure comparisons, no I/O."""

import hashlib
import json
from typing import Any

from koco.manifest.model import Manifest


def normal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest's data as it says the same whichever koco wrote it.

    Defaults are left out: a key that a newer koco has changes nothing by being there. Of what
    this koco does not understand, everything counts.
    """
    from pydantic import ValidationError

    try:
        checked = Manifest.model_validate(manifest)
    except ValidationError:
        return manifest
    return checked.model_dump(mode="json", exclude_defaults=True)


def fingerprint(manifest: dict[str, Any], bundle: str) -> str:
    """Return what two releases have in common if, and only if, they say the same."""
    text = json.dumps([normal(manifest), bundle], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
