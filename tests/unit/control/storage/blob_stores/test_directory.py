"""A directory for blobs that goes away, or is on another disk."""

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koco.control.storage.blob_stores import address
from koco.control.storage.blob_stores.directory import Directory
from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.errors import NoRoomError

SHA256 = hashlib.sha256(b"content").hexdigest()


def test_a_directory_that_is_away_is_not_an_empty_one(tmp_path: Path) -> None:
    """Nothing counts as removed, and nothing is written somewhere else."""
    store = Directory(tmp_path / "shared")
    asyncio.run(store.put(SHA256, b"content"))
    (tmp_path / "shared").rename(tmp_path / "elsewhere")
    for work in (store.size(SHA256), store.open(SHA256), store.put(SHA256, b"content")):
        with pytest.raises(BlobsAwayError, match="No such file") as caught:
            asyncio.run(work)  # type: ignore[arg-type]
        assert str(tmp_path / "shared") in caught.value.message
    (tmp_path / "elsewhere").rename(tmp_path / "shared")
    assert asyncio.run(store.size(SHA256)) == 7


def test_a_file_of_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It appears as a whole, under its owner's rights only; a full disk leaves nothing."""
    part = tmp_path / "part"
    part.write_bytes(b"content")
    replace = Path.replace

    def across(self: Path, target: Any) -> Path:
        if self == part:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    store = Directory(tmp_path / "shared")
    asyncio.run(store.add(SHA256, part))
    assert store.path(SHA256).read_bytes() == b"content"
    assert store.path(SHA256).stat().st_mode & 0o777 == 0o600

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(NoRoomError, match="No space left on device in"):
        asyncio.run(store.add(other, part))
    assert [each.name for each in (tmp_path / "shared").rglob("*") if each.is_file()] == [SHA256]


def test_the_library_for_s3_is_loaded_for_a_bucket_only(tmp_path: Path) -> None:
    """A control plane without one is not heavier."""
    code = (
        "import sys; from pathlib import Path; import koco.control.process\n"
        "from koco.control.storage.blob_stores import address\n"
        "for place in ('', sys.argv[1], 's3://bucket/x'):\n"
        "    address.make(place, Path(sys.argv[1])); print('obstore' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["False", "False", "True"]
    assert address.make("", tmp_path).location == str(tmp_path / "blobs")
