"""Uploads in chunks: `/files/init_batch`, `init`, `chunk`, `complete`, `cancel`.

A launch that names uploads completes them itself. An upload belongs to its user, so its id and the
id of its batch mean nothing to others.
"""

import re
import uuid
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from litestar import delete, post
from litestar.datastructures import UploadFile

from koco import file_paths
from koco.api.http import auth, json_body
from koco.api.http.request import Request
from koco.api.kodosumi import inputs
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes.uploaded import Item
from koco.control.storage.chunked import CHUNK_BYTES, Content, Upload
from koco.errors import LimitError, NotAllowedError, UsageError
from koco.store.model import NewFile

#: How much a request may have besides its chunk (bytes).
_AROUND_BYTES = 64 * 1024
#: The number of a chunk, which may have zeros in front.
_NUMBER = re.compile(r"[0-9]{1,40}")
#: The most uploads that one request completes.
_MOST = 1000

_Name = Annotated[str, msgspec.Meta(max_length=file_paths.PATH_BYTES)]
_Id = Annotated[str, msgspec.Meta(max_length=100)]


class _Init(msgspec.Struct):
    """The upload to begin."""

    filename: _Name
    total_chunks: int
    batch_id: _Id | None = None


class _Complete(msgspec.Struct):
    """The upload to complete, and the execution that gets the file."""

    upload_id: _Id
    filename: _Name
    total_chunks: int
    batch_id: _Id | None = None
    fid: str | None = None


class _Cancel(msgspec.Struct):
    """The upload to cancel."""

    upload_id: _Id


@post("/files/init_batch", guards=[requires("launch")])
async def begin_batch(request: Request) -> dict[str, str]:
    """Return the id of a new batch of uploads."""
    return {"batch_id": str(uuid.uuid4())}


@post("/files/init", guards=[requires("launch")])
async def begin_upload(request: Request) -> dict[str, str | None]:
    """Begin an upload; return its id."""
    given = await json_body.read(request, _Init)
    _path("in", given.filename)
    upload = Upload(
        filename=given.filename, total_chunks=given.total_chunks, batch_id=given.batch_id or ""
    )
    made = await request.parts.chunked.begin(request.auth.owner, upload)
    return {"upload_id": made, "batch_id": given.batch_id}


@post("/files/chunk", guards=[requires("launch")])
async def add_chunk(request: Request) -> dict[str, Any]:
    """Add a chunk to an upload, in any order. A repeated chunk changes nothing."""
    if (request.content_length or 0) > CHUNK_BYTES + _AROUND_BYTES:
        raise LimitError(f"a chunk may have {CHUNK_BYTES} bytes")
    await request.octets()  # so that its size and its time are limited
    form = await request.form()
    upload_id, number, chunk = (form.get(name) for name in ("upload_id", "chunk_number", "chunk"))
    if not isinstance(upload_id, str) or not isinstance(chunk, UploadFile):
        raise UsageError("the form needs `upload_id`, `chunk_number` and the file `chunk`")
    if not isinstance(number, str) or not _NUMBER.fullmatch(number):
        raise UsageError(f"chunk_number must be a number from 0, got {str(number)[:40]!r}")
    data = await chunk.read()
    count = await request.parts.chunked.take(request.auth.owner, upload_id, int(number), data)
    return {
        "status": "chunk received",
        "chunk_number": int(number),
        "received_chunks": count,
    }


@post("/files/complete/{root:str}", guards=[requires("launch")])
async def complete_upload(request: Request, root: str) -> dict[str, Any]:
    """Complete an upload; with `fid`, the execution gets the file."""
    given = await json_body.read(request, _Complete)
    item = Item(given.filename, given.total_chunks)
    [(path, content)] = await _finish(request, root, [(given.upload_id, item)], given.batch_id)
    if given.fid:
        await _attach(request, given.fid, path, content)
    return _completed(given.fid or given.batch_id or given.upload_id, given.batch_id, item)


@post("/files/complete/{fid:str}/{batch_id:str}/{root:str}", guards=[requires("launch")])
async def complete_batch(
    request: Request, fid: str, batch_id: str, root: str
) -> list[dict[str, Any]]:
    """Complete the uploads of a batch; the execution gets the files."""
    given = await json_body.read(request, dict[str, Item])
    if len(given) > _MOST:
        raise LimitError(f"at most {_MOST} uploads are completed at once, got {len(given)}")
    # A wrong fid or upload is noticed before the first file is there.
    await auth.find_execution(request, fid)
    for path, content in await _finish(request, root, given.items(), batch_id):
        await _attach(request, fid, path, content)
    return [_completed(fid, batch_id, each) for each in given.values()]


@post("/files/cancel", status_code=200, guards=[requires("launch")])
async def cancel_upload(request: Request) -> dict[str, str]:
    """Remove an upload that no execution has."""
    given = await json_body.read(request, _Cancel)
    await request.parts.chunked.cancel(request.auth.owner, given.upload_id)
    return {"status": "upload cancelled"}


@delete("/files/cancel/{upload_id:str}", status_code=204, guards=[requires("launch")])
async def remove_upload(request: Request, upload_id: str) -> None:
    """Remove an upload that no execution has."""
    await request.parts.chunked.cancel(request.auth.owner, upload_id)


async def _finish(
    request: Request, root: str, items: Iterable[tuple[str, Item]], batch_id: str | None
) -> list[tuple[str, Content]]:
    """Complete uploads; return the paths and the contents of their files."""
    found = []
    for upload_id, item in items:
        path = _path(root, item.filename)
        found.append((path, await inputs.finish_upload(request, upload_id, item, batch_id)))
    return found


async def _attach(request: Request, fid: str, path: str, content: Content) -> None:
    execution = await auth.find_execution(request, fid)
    new = NewFile(path=path, sha256=content.sha256, size_bytes=content.size_bytes)
    await request.parts.files.attach(execution.fid, new, caller=request.auth)


def _completed(completion_id: str, batch_id: str | None, item: Item) -> dict[str, Any]:
    return {
        "status": "upload complete",
        "completion_id": completion_id,
        "batch_id": batch_id or "",
        "final_file": item.filename,
        "final_path": f"{completion_id}/{item.filename}",
    }


def _path(root: str, filename: str) -> str:
    """Return the path of an uploaded file in an execution.

    Raises:
        PathError: the name is not valid.
        NotAllowedError: it is not for files of users.
    """
    if root == "out":
        raise NotAllowedError("users put files into in/ only", hint="/files/complete/in")
    return file_paths.path(f"{root}/{filename}")


ROUTES = (
    *(add_chunk, begin_batch, begin_upload, cancel_upload, complete_batch, complete_upload),
    remove_upload,
)
