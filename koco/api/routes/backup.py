"""Backups of the control plane, for admins."""

from litestar import post

from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import WholeStream
from koco.api.openapi.annotations import Answer
from koco.errors import NoRoomError

#: The media type of a backup, a tar file.
MEDIA_TYPE = "application/x-tar"


@post(
    "/v1/backup",
    status_code=200,
    guards=[requires("admin")],
    answers={200: Answer(media={MEDIA_TYPE: bytes}, about="the backup", is_streamed=True)},
    errors=[NoRoomError],
)
async def make_backup(request: Request) -> WholeStream:
    """Return a backup of the store, all files, bundles and secrets, as they are now.

    It can be read by whoever has it, so keep it as you keep the data directory.
    """
    headers = {"Cache-Control": "no-store"}
    pieces = request.parts.backups.pieces()
    return WholeStream(request, pieces, media_type=MEDIA_TYPE, headers=headers)


ROUTES = (make_backup,)
