"""Files of executions: `/files/{fid}/in`, `/files/{fid}/out/report.md`."""

from typing import Any
from urllib.parse import quote, unquote_to_bytes

from litestar import Response, delete, get

from koco import file_paths
from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes import facts
from koco.api.routes.executions.files import stream_file
from koco.errors import PathError


@get("/files/{fid:str}/{rest:path}", guards=[requires("read")])
async def read_file(request: Request, fid: str) -> Response[Any]:
    """Return a file's content, or list the files of a folder."""
    execution = await auth.find_execution(request, fid)
    place = file_paths.place(_path(request))
    files = await request.parts.files.listing(execution, place)
    if place in file_paths.ROOTS or [file.path for file in files] != [place]:
        shown = [
            {
                "path": file.path,
                "size": file.size_bytes,
                "last_modified": facts.seconds(file.created),
            }
            for file in files
        ]
        return Response(sorted(shown, key=lambda each: str(each["path"])))
    answer = await stream_file(request, files[0])
    name = quote(place.rpartition("/")[2], safe="")
    shown_as = f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    answer.headers["Content-Disposition"] = shown_as
    return answer


@delete("/files/{fid:str}/{rest:path}", status_code=204, guards=[requires("launch")])
async def remove_files(request: Request, fid: str) -> None:
    """Remove a file, or a folder with its files."""
    execution = await auth.find_execution(request, fid)
    place = file_paths.place(_path(request))
    await request.parts.files.remove(execution.fid, place, caller=request.auth)


def _path(request: Request) -> str:
    """Return the path of a file as it was sent. The router's own is normalized."""
    rest = request.scope["raw_path"].split(b"/", 3)[3]
    try:
        return unquote_to_bytes(rest).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PathError(f"{rest[:200]!r} is not UTF-8") from exc


ROUTES = (read_file, remove_files)
