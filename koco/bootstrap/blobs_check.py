"""Reach the place of blobs before anything starts for it, and keep the keys for it."""

import asyncio
import importlib.util
import os
import socket
from pathlib import Path

from koco.client import context_file
from koco.errors import UsageError


def place(asked: str | None, data_dir: str) -> str:
    """Return the checked place for blobs; nothing if it is in the data directory.

    Storage that needs keys gets those of this process's environment, if there are any, from now on.

    Raises:
        UsageError: it is not a place for blobs, or cannot be used from this machine.
        BlobsAwayError: it does not answer.
    """
    if not asked:
        return ""
    # msgspec and the store, which a place in the data directory does not need
    from koco.control.storage.blob_stores import address

    if not address.is_s3(asked):
        return _directory(address.check(asked))
    from koco.control.storage.blob_stores import s3_access

    named = address.check(asked)
    if importlib.util.find_spec("obstore") is None:
        raise UsageError(
            f"blobs in S3 need the package obstore, which is missing on {socket.gethostname()}",
            hint="install koco with its extra `s3`: pip install 'koco-deploy[s3]'",
        )
    folder = Path(data_dir)
    new = s3_access.of_environment(os.environ)
    if not s3_access.is_news(new, folder):
        new = {}
    asyncio.run(address.make(named, folder, values=new or None).check())
    if new:
        s3_access.save(folder, new)
    return named


def _directory(named: str) -> str:
    from koco.control.storage.blob_stores.directory import Directory

    path = context_file.expand_path(named)
    hint = "`--blobs` needs the absolute path of a directory, or s3://BUCKET/PREFIX"
    if not path.is_absolute():
        raise UsageError(f"{str(path)!r} is not an absolute path", hint=hint)
    try:
        found = Directory(path)
    except OSError as exc:
        where = f"{path} on {socket.gethostname()}"
        raise UsageError(f"cannot keep blobs in {where}: {exc.strerror}", hint=hint) from exc
    asyncio.run(found.check())
    return str(path)
