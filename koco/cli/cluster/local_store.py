"""The store of a control plane that `koco up` is about to start on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.cli.cluster import driver_process, options
from koco.cli.terminal import output
from koco.client import context_file
from koco.client.context_file import LOCAL, Context
from koco.errors import NotAllowedError

if TYPE_CHECKING:
    from koco.control.storage.blob_stores.protocol import BlobStore


def restore(file: Path, replaces: bool, asked: Mapping[str, Any], known: Context | None) -> bool:
    """Restore a backup into the data directory that the control plane will start with.

    Return whether its admin key must be replaced, because the context has none of its keys. Whoever
    has the file, with all of its secrets, may do that.
    """
    from koco.bootstrap import machine_check  # only if something has to start
    from koco.control.backup import restoring  # msgspec and the store

    remembered = known.cluster if known else {}
    usual = str(driver_process.data_dir())
    named = asked.get("data_dir") or remembered.get("data_dir") or usual
    data_dir = Path(machine_check.folder(named))
    kept = _blobs_elsewhere(asked.get("blobs", remembered.get("blobs")), data_dir)
    store = machine_check.store(asked.get("store", remembered.get("store")))
    head, former = restoring.restore(file, data_dir, replaces=replaces, kept=kept, store=store)
    if former:
        output.note(f"the former store is now in {former}")
    output.note(f"restored {file}, which koco {head.koco} wrote at {head.created}")
    if _admits(store or data_dir / "store.db", options.admin_key(known)):
        return False
    output.note(
        f"the context {LOCAL!r} has no key of the backup: its admin key is replaced by a new one"
    )
    return True


def _blobs_elsewhere(place: str | None, data_dir: Path) -> "BlobStore | None":
    """Return the place of blobs if it is not the data directory."""
    from koco.bootstrap import blobs_check  # only if something has to start
    from koco.control.storage.blob_stores import address  # as above

    checked = blobs_check.place(place, str(data_dir))
    return address.make(checked, data_dir) if checked else None


def refuse_to_leave(asked: Mapping[str, Any], known: Context | None) -> None:
    """Refuse to begin with nothing where the control plane so far has a store or blobs elsewhere.

    Another data directory is another installation, which may begin with nothing.

    Raises:
        ConflictError: they have to be copied first.
    """
    remembered = known.cluster if known else {}
    if not {"store", "blobs"} & asked.keys():
        return
    from koco.bootstrap import left_behind, machine_check  # only if something has to start

    usual = str(driver_process.data_dir())
    former = remembered.get("data_dir") or usual
    data_dir = machine_check.folder(asked.get("data_dir") or former)
    if data_dir != machine_check.folder(former):
        return
    if "store" in asked:
        left_behind.refuse_store(remembered.get("store", ""), asked["store"], data_dir)
    if "blobs" in asked:
        left_behind.refuse_blobs(remembered.get("blobs", ""), asked["blobs"], data_dir)


def has_new_keys(here: Mapping[str, Any]) -> bool:
    """Return whether the environment has other keys for S3 than the control plane uses."""
    if not str(here.get("blobs", "")).startswith("s3://"):
        return False
    from koco.control.storage.blob_stores import s3_access  # few need it

    new = s3_access.of_environment(os.environ)
    data_dir = Path(here.get("data_dir") or driver_process.data_dir())
    return s3_access.is_news(new, data_dir)


def require_admitted(data_dir: str, key: str) -> None:
    """Raise if the control plane would refuse the key, before Ray starts for nothing."""
    from koco.bootstrap import machine_check  # only if something has to start

    if not _admits(Path(machine_check.folder(data_dir)) / "store.db", key):
        context_file.forget_begun(LOCAL)  # the next attempt has the key of the context
        raise make_refusal(f"the store in {data_dir}")


def make_refusal(store: str) -> NotAllowedError:
    """Return the error about a store that does not know the context's key."""
    return NotAllowedError(
        f"{store} has an admin key that the context {LOCAL!r} does not have",
        hint="`koco up --recover-admin` replaces it with a new one",
    )


def _admits(store: Path | str, key: str) -> bool:
    """Return whether a store that is not open will accept a key: it has that one, or none."""
    from koco.store import key_check  # the store, which `koco down` does not need

    return key_check.admits(store, bytes.fromhex(options.digest(key)))
