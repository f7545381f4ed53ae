"""Files of executions, and the uploads that bring their content.

A path is read from the request's raw target, decoded once: the router has already
made it prettier, and what it mended may have been an attack.
"""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request, Response, delete, get, head, patch, put
from litestar.datastructures import State

from koco import file_paths
from koco.api.http import auth, list_query, upload_headers
from koco.api.http.auth import requires_files
from koco.api.http.streaming import Ending
from koco.api.openapi import schemas
from koco.api.openapi.annotations import Answer
from koco.control.access.caller import Caller
from koco.control.executions.files import Files
from koco.control.storage.blobs import Blobs
from koco.errors import PathError, UsageError
from koco.plurals import counted
from koco.store.model import File, NewFile

_BYTES = {"application/octet-stream": bytes}

# No file has more bytes than those digits can say.
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class RangeError(UsageError):
    """A range that begins behind a file's end."""

    http_status = 416
    code = "range"

    def __init__(self, message: str, size_bytes: int) -> None:
        super().__init__(message)
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file shall hold: a blob that was uploaded."""

    sha256: str
    size_bytes: int


@head("/v1/blobs/{sha256:str}", guards=[requires_files("launch")], answers=upload_headers.SHOWN)
async def show_upload(request: Request[Any, Caller, State], sha256: str) -> Response[None]:
    """Say how much of a blob the caller has uploaded, and whether that is all of it."""
    blobs: Blobs = request.app.state.parts.files.blobs
    offset, is_complete = await blobs.state(request.auth.uploader, sha256)
    return upload_headers.answer(offset, is_complete=is_complete, status_code=200)


@patch(
    "/v1/blobs/{sha256:str}",
    status_code=204,
    request_max_body_size=None,
    guards=[requires_files("launch")],
    **upload_headers.TAKEN,
)
async def upload(request: Request[Any, Caller, State], sha256: str) -> Response[None]:
    """Append to an upload; with the last byte it becomes a blob, if it has that hash."""
    blobs: Blobs = request.app.state.parts.files.blobs
    offset, length = upload_headers.place(request)
    arrived = await blobs.receive(
        request.auth.uploader,
        sha256,
        offset=offset,
        length=length,
        body=request.stream(),
    )
    return upload_headers.answer(arrived, is_complete=arrived == length, status_code=204)


@get(
    "/v1/executions/{fid:str}/files",
    guards=[requires_files("read")],
    answers={200: schemas.Page[schemas.File]},
    errors=[PathError],
)
async def list_files(
    request: Request[Any, Caller, State],
    fid: str,
    path: str = "",
    *,
    limit: int = 1000,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List an execution's files: all, or those at or below a path."""
    files: Files = request.app.state.parts.files
    execution = await auth.execution(request, fid)
    found = await files.listing(execution, file_paths.place(path) if path else "")
    some, after = list_query.page(found, by=lambda file: file.path, limit=limit, cursor=cursor)
    return {"items": [msgspec.structs.asdict(file) for file in some], "next": after}


@get(
    "/v1/executions/{fid:str}/files/{rest:path}",
    guards=[requires_files("read")],
    headers=["Range"],
    answers={
        200: Answer(media=_BYTES, headers=["ETag"], about="the content"),
        206: Answer(media=_BYTES, headers=["ETag", "Content-Range"], about="the rest of it"),
    },
    errors=[PathError, RangeError],
)
async def read_file(request: Request[Any, Caller, State], fid: str) -> Ending:
    """Give a file's content, from a byte on where `Range` asks for it."""
    parts = request.app.state.parts
    execution = await auth.execution(request, fid)
    file: File = await parts.store.files.get(execution.id, file_paths.path(_path(request)))
    headers = {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        # A flow's file may be a page with scripts: nothing here is to be shown by a browser.
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    start, status = _start(request, file.size_bytes), 200
    if start is None:
        start = 0
    else:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{file.size_bytes - 1}/{file.size_bytes}"
    headers["Content-Length"] = str(file.size_bytes - start)
    return Ending(
        request,
        parts.files.blobs.read(file.sha256, start=start),
        status_code=status,
        media_type="application/octet-stream",
        headers=headers,
    )


@put(
    "/v1/executions/{fid:str}/files/{rest:path}",
    guards=[requires_files("launch")],
    body=Content,
    answers={200: schemas.File},
    errors=[PathError],
)
async def put_file(request: Request[Any, Caller, State], fid: str) -> dict[str, Any]:
    """Attach an uploaded blob under a path."""
    try:
        content = msgspec.json.decode(await request.body(), type=Content)
    except msgspec.DecodeError as exc:
        hint = 'such as {"sha256": "…", "size_bytes": 5}'
        raise UsageError(f"the body: {exc}", hint=hint) from exc
    new = NewFile(path=file_paths.path(_path(request)), **msgspec.structs.asdict(content))
    files: Files = request.app.state.parts.files
    execution = await auth.execution(request, fid)
    file = await files.attach(execution.fid, new, caller=request.auth)
    return msgspec.structs.asdict(file)


@delete(
    "/v1/executions/{fid:str}/files/{rest:path}",
    status_code=200,
    guards=[requires_files("launch")],
    answers={200: schemas.Page[schemas.File]},
    errors=[PathError],
)
async def remove_files(request: Request[Any, Caller, State], fid: str) -> dict[str, Any]:
    """Remove a file or a folder; say what was removed."""
    place = file_paths.place(_path(request))
    files: Files = request.app.state.parts.files
    execution = await auth.execution(request, fid)
    removed = await files.remove(execution.fid, place, caller=request.auth)
    return {"items": [msgspec.structs.asdict(file) for file in removed], "next": None}


def _path(request: Request[Any, Caller, State]) -> str:
    _, marker, rest = request.scope["raw_path"].partition(b"/files/")
    try:
        text = unquote_to_bytes(rest).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PathError(f"{rest[:200]!r} is no UTF-8") from exc
    if not marker:
        raise PathError("the path of a file comes after `/files/`, spelt just so")
    return text


def _start(request: Request[Any, Caller, State], size_bytes: int) -> int | None:
    """Return where the asked range begins; None where all is asked for."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    # As HTTP has it: what is not understood is answered with the whole.
    if found is None or (found[2] and int(found[2]) < size_bytes - 1):
        return None
    start = int(found[1])
    if start >= size_bytes:
        raise RangeError(
            f"the file has {counted(size_bytes, 'byte')}, none from {start} on", size_bytes
        )
    return start


ROUTES = (show_upload, upload, list_files, read_file, put_file, remove_files)
