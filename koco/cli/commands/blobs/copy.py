"""`koco blobs copy`: copy bundles and files to another place."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from koco.cli.cluster import driver_process
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.errors import UsageError
from koco.plurals import counted
from koco.sizes import format_size

if TYPE_CHECKING:
    from koco.control.storage.blob_stores.protocol import BlobStore


def command(
    source: Annotated[
        str, Option("--from", metavar="DIR|URL", help="The blobs: a directory or a bucket.")
    ],
    target: Annotated[str, Option("--to", metavar="DIR|URL", help="Where to copy them.")],
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Copy bundles and files to another directory or bucket.

    Stop the control plane first, with `koco down`. Each one is checked on the way, and those
    that are there already are left out: repeat a copy that was interrupted. Nothing is removed.
    `koco up --blobs` then starts with the copy.

    Example: koco blobs copy --from ~/.koco/local/blobs --to s3://my-bucket/koco
    """
    from koco.control.storage.blob_stores import copying  # msgspec, which help does not need

    old, new = _place(source, must_exist=True), _place(target)
    with tempfile.TemporaryDirectory(prefix="koco-blobs-") as scratch:
        asyncio.run(new.check())
        done = asyncio.run(copying.between(old, new, Path(scratch)))
    if as_json:
        places = {"from": old.location, "to": new.location}
        output.print_json({**places, "copied": done.blobs, "present": done.present})
        return
    size = format_size(done.size_bytes)
    output.note(f"copied {counted(done.blobs, 'blob')}, {size}; {done.present} were there already")
    output.print_line(new.location)


def _place(text: str, *, must_exist: bool = False) -> "BlobStore":
    """Return a place for blobs. Keys are those of the environment, else of `koco up`."""
    from koco.control.storage.blob_stores import address, s3_access  # as above

    data_dir = driver_process.data_dir()
    if address.is_s3(text) or "://" in text:
        values = s3_access.of_environment(os.environ)
        return address.make(address.check(text), data_dir, values=values or None)
    path = Path(text).expanduser().absolute()
    if must_exist and not path.is_dir():
        raise UsageError(
            f"there are no blobs in {path}",
            hint="without `--blobs`, they are in the folder `blobs` of the data directory",
        )
    return address.make(str(path), data_dir)
