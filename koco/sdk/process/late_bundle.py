"""Fetch a bundle into the folder of a process that was started before the bundle existed.

A person's own services (`hello~ada`) are deployed at each save. So koco starts the runner of the
next release while the person still edits: see `koco.control.runners.spares`. Its node unpacks a
placeholder, because Ray fetches bundles before it starts a process. The placeholder's file `MARK`
has the URL from which the release's bundle comes as soon as there is one.

Every process of such a release fetches the bundle if its folder still has the mark, so that a
flow's Ray tasks find the code, whichever process was first on their node.
"""

import fcntl
import importlib
import io
import sys
import zipfile
from pathlib import Path

#: The environment variable of processes whose folder may be a placeholder.
VARIABLE = "KOCO_LATE_BUNDLE"
#: The file of a placeholder.
MARK = ".koco-late"

#: How long the bundle may take to begin to arrive (seconds).
_FETCH_S = 30.0


def fetch() -> bool:
    """Fetch the bundle if its place is still empty; return whether it is there.

    Raises:
        OSError: the control plane cannot be reached.
    """
    # A list, because all of the folders are to be filled.
    filled = [_fill(Path(root)) for root in sys.path if root and (Path(root) / MARK).exists()]
    if filled:
        importlib.invalidate_caches()
    return all(filled)


def _fill(folder: Path) -> bool:
    mark = folder / MARK
    # Several processes of a node may begin at once.
    with (folder / f"{MARK}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            return True
        with zipfile.ZipFile(io.BytesIO(_get(mark.read_text("utf-8")))) as archive:
            if MARK in archive.namelist():
                return False  # there is no such release yet
            archive.extractall(folder)  # its paths were checked when it was uploaded
        mark.unlink()
    return True


def _get(url: str) -> bytes:
    # 30 ms, and most processes have their bundle.
    import urllib.request

    # Never through a proxy: it is the control plane's own address in the cluster.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=_FETCH_S) as answer:
        found: bytes = answer.read()
    return found


def placeholder(mark: str, url: str) -> bytes:
    """Return the zip that stands for a bundle to come; `mark` is the file that every bundle has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(mark), "{}")
        archive.writestr(zipfile.ZipInfo(MARK), url)
    return buffer.getvalue()
