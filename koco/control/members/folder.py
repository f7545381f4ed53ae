"""Whether a process has the control plane's data directory, without which it cannot lead.

The keys of the secrets are there, and bundles and files unless they are elsewhere. A mark in the
directory is the same as one in the store.
"""

import os
from pathlib import Path

from koco.disk_sync import sync
from koco.store.store import Store

#: The file with the mark.
FILE = "installation"


async def is_shared(store: Store, data_dir: Path, *, owns: bool) -> bool:
    """Return whether the directory has the mark of the store.

    The first process `owns` the directory, because that is the one that `koco up` names: it puts
    the mark there. The directory may have that of another store, of before a store was moved or
    restored.

    Raises:
        OSError: the directory cannot be read or written.
    """
    mark = (await store.secrets.own("installation")).hex()
    path = data_dir / FILE
    if _read(path) == mark:
        return True
    if not owns:
        return False
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{mark}\n")
    sync(path)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
