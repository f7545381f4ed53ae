"""The control planes that have answered before, on this machine and to this user.

Each has an empty file, named by its URL, in `answered` of koco's directory. The first answer
creates the file, and later ones only check for it. So most commands write nothing, and two at once
create the same file. If the directory cannot be written, nothing is remembered.
"""

import contextlib
from pathlib import Path
from urllib.parse import quote

from koco.client import context_file
from koco.errors import UsageError


def remember(url: str) -> None:
    """Record that a control plane has answered at a URL."""
    # The name may be too long, a part of the path may not be a folder, or there is no home.
    with contextlib.suppress(OSError, UsageError):
        path = _path(url)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)


def before(url: str) -> bool:
    """Return whether a control plane has answered at a URL before."""
    try:
        return _path(url).exists()
    except (OSError, UsageError):
        return False


def forget(url: str) -> None:
    """Forget a URL, because its control plane was stopped."""
    with contextlib.suppress(OSError, UsageError):
        _path(url).unlink(missing_ok=True)


def _path(url: str) -> Path:
    return context_file.home() / "answered" / quote(url, safe="")
