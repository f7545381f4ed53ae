"""Files of executions, and the uploads of their content.

A path is read from the request's raw target and decoded once. The router's own version is
normalized, which could hide an attack.
"""

import re
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Response, delete, get, head, patch, put

from koco import file_paths
from koco.api.http import auth, json_body, list_query, upload_headers
from koco.api.http.auth import requires_files
from koco.api.http.request import Request
from koco.api.http.streaming import RevocableStream
from koco.api.openapi.annotations import Answer
from koco.control.storage.blob_stores.protocol import missing
from koco.errors import PathError, UsageError
from koco.plurals import counted
from koco.store.model import File, NewFile, Page

#: How long a signed URL is valid (seconds). A download that has begun goes on after that.
_SIGNED_S = 60.0

_BYTES = {"application/octet-stream": bytes}

# No file's size has more digits.
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class RangeError(UsageError):
    """The range begins after the file's end."""

    http_status = 416
    code = "range"

    def __init__(self, message: str, size_bytes: int) -> None:
        super().__init__(message)
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file: an uploaded blob."""

    sha256: str
    size_bytes: int


@head("/v1/blobs/{sha256:str}", guards=[requires_files("launch")], answers=upload_headers.SHOWN)
async def show_upload(request: Request, sha256: str) -> Response[None]:
    """Show how much of a blob the caller has uploaded, and whether that is all of it."""
    blobs = request.parts.files.blobs
    offset, is_complete = await blobs.state(request.auth.uploader, sha256, by=request.auth.owner)
    return upload_headers.answer(offset, is_complete=is_complete, status_code=200)


@patch(
    "/v1/blobs/{sha256:str}",
    status_code=204,
    request_max_body_size=None,
    guards=[requires_files("launch")],
    **upload_headers.TAKEN,
)
async def upload(request: Request, sha256: str) -> Response[None]:
    """Append to an upload; with the last byte it becomes a blob, if it has that hash."""
    offset, length = upload_headers.read(request)
    arrived = await request.parts.files.blobs.receive(
        request.auth.uploader,
        sha256,
        offset=offset,
        length=length,
        body=request.stream(),
        by=request.auth.owner,
    )
    return upload_headers.answer(arrived, is_complete=arrived == length, status_code=204)


@get(
    "/v1/executions/{fid:str}/files",
    guards=[requires_files("read")],
    errors=[PathError],
)
async def list_files(
    request: Request,
    fid: str,
    path: str = "",
    *,
    limit: int = 1000,
    cursor: str | None = None,
) -> Page[File]:
    """List an execution's files: all, or those at or below a path."""
    execution = await auth.find_execution(request, fid)
    place = file_paths.place(path) if path else ""
    found = await request.parts.files.listing(execution, place)
    return list_query.page(found, by=lambda file: file.path, limit=limit, cursor=cursor)


@get(
    "/v1/executions/{fid:str}/files/{rest:path}",
    guards=[requires_files("read")],
    headers=["Range"],
    answers={
        200: Answer(media=_BYTES, headers=["ETag"], about="the content"),
        206: Answer(media=_BYTES, headers=["ETag", "Content-Range"], about="a part of the content"),
        307: Answer(headers=["ETag", "Location"], about="a signed URL has the content"),
    },
    errors=[PathError, RangeError],
)
async def read_file(request: Request, fid: str) -> RevocableStream | Response[bytes]:
    """Return a file's content; with `Range`, from a byte on."""
    execution = await auth.find_execution(request, fid)
    path = file_paths.path(_path(request))
    file = await request.parts.store.files.get(execution.id, path)
    if request.parts.settings.blobs_redirect and (url := await _signed(request, file)):
        headers = {"ETag": f'"{file.sha256}"', "Cache-Control": "no-store", "Location": url}
        return Response(b"", status_code=307, media_type="text/plain", headers=headers)
    return await stream_file(request, file)


async def _signed(request: Request, file: File) -> str | None:
    """Return a URL of the storage for a file, or None if there are none."""
    kept = request.parts.files.blobs.kept
    if (url := await kept.sign(file.sha256, _SIGNED_S)) and await kept.size(file.sha256) is None:
        raise missing(file.sha256, kept.location)  # the storage's own answer would not be ours
    return url


async def stream_file(request: Request, file: File) -> RevocableStream:
    """Return the answer with a file's content, or with the part that the request's range names."""
    headers = {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        # A flow's file may be a page with scripts, so a browser must not show it.
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
    return RevocableStream(
        request,
        await request.parts.files.blobs.open(file.sha256, start=start),
        status_code=status,
        media_type="application/octet-stream",
        headers=headers,
    )


@put(
    "/v1/executions/{fid:str}/files/{rest:path}",
    guards=[requires_files("launch")],
    body=Content,
    errors=[PathError],
)
async def put_file(request: Request, fid: str) -> File:
    """Attach an uploaded blob under a path."""
    hint = 'such as {"sha256": "…", "size_bytes": 5}'
    content = await json_body.read(request, Content, hint=hint)
    new = NewFile(path=file_paths.path(_path(request)), **msgspec.structs.asdict(content))
    execution = await auth.find_execution(request, fid)
    return await request.parts.files.attach(execution.fid, new, caller=request.auth)


@delete(
    "/v1/executions/{fid:str}/files/{rest:path}",
    status_code=200,
    guards=[requires_files("launch")],
    errors=[PathError],
)
async def remove_files(request: Request, fid: str) -> Page[File]:
    """Remove a file or a folder; the answer lists the removed files."""
    place = file_paths.place(_path(request))
    execution = await auth.find_execution(request, fid)
    removed = await request.parts.files.remove(execution.fid, place, caller=request.auth)
    return Page(list(removed), None)


def _path(request: Request) -> str:
    _, marker, rest = request.scope["raw_path"].partition(b"/files/")
    try:
        text = unquote_to_bytes(rest).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PathError(f"{rest[:200]!r} is not UTF-8") from exc
    if not marker:
        raise PathError("the path of a file comes after `/files/`, spelled exactly so")
    return text


def _start(request: Request, size_bytes: int) -> int | None:
    """Return where the requested range begins, or None if the whole file is requested."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    # HTTP demands it: a range that is not understood is answered with the whole.
    if found is None or (found[2] and int(found[2]) < size_bytes - 1):
        return None
    start = int(found[1])
    if start >= size_bytes:
        raise RangeError(
            f"the file has {counted(size_bytes, 'byte')}, none from {start} on", size_bytes
        )
    return start


ROUTES = (show_upload, upload, list_files, read_file, put_file, remove_files)
