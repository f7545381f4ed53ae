"""Where this koco was installed from, for the `pyproject.toml` of a new project.

Tools find koco in their package index. One that was installed from a clone, a file or a repository
may be in no index, so uv is told the place.
"""

import importlib.metadata
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from koco.versions import DISTRIBUTION


def add_to(pyproject: bytes) -> bytes:
    """Return a `pyproject.toml` that needs koco, with koco's source for uv if it needs one."""
    if DISTRIBUTION.encode() not in pyproject or b"[tool.uv.sources]" in pyproject:
        return pyproject
    source = uv_source(_origin())
    if source is None:
        return pyproject
    table = (
        "\n# This koco was installed from there. Remove the table if yours is in an index.\n"
        f"[tool.uv.sources]\n{DISTRIBUTION} = {source}\n"
    )
    return pyproject + table.encode()


def uv_source(origin: dict[str, Any] | None) -> str | None:
    """Return uv's source for an origin (PEP 610) as TOML, or None if an index has it."""
    url = str((origin or {}).get("url", ""))
    if origin is None or not url:
        return None
    if vcs := origin.get("vcs_info"):
        is_git = vcs.get("vcs") == "git" and vcs.get("commit_id")
        return f"{{ git = {_text(url)}, rev = {_text(vcs['commit_id'])} }}" if is_git else None
    parts = urlsplit(url)
    if parts.scheme != "file":
        return f"{{ url = {_text(url)} }}"
    path = Path(url2pathname(parts.path))
    return f"{{ path = {_text(str(path))} }}" if path.exists() else None


def _origin() -> dict[str, Any] | None:
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        found = json.loads(text) if text else None
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON's texts are TOML's, too
