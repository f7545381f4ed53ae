"""Which control planes have answered before, on this machine and to this user.

An empty file for each, in `answered` of koco's directory, named by its URL. It is made at the
first answer and then only looked for, so that commands do not write, and two at once make the
same file. Where nothing can be written, nothing is remembered.
"""

import contextlib
from pathlib import Path
from urllib.parse import quote

from koco.client import context_file
from koco.errors import UsageError


def remember(url: str) -> None:
    """Note that a control plane has answered at a URL."""
    # Its name may be too long, a part of its path something else, or there is no home.
    with contextlib.suppress(OSError, UsageError):
        path = _path(url)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)


def before(url: str) -> bool:
    """Say whether a control plane has answered at a URL before."""
    try:
        return _path(url).exists()
    except (OSError, UsageError):
        return False


def forget(url: str) -> None:
    """Note that nothing is to answer there any more, as it was stopped."""
    with contextlib.suppress(OSError, UsageError):
        _path(url).unlink(missing_ok=True)


def _path(url: str) -> Path:
    return context_file.home() / "answered" / quote(url, safe="")
