"""Messages to executions, for `tracer.receive`."""

from typing import Annotated

import msgspec
from litestar import post
from msgspec import Meta

from koco.api.http import auth, json_body
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Body
from koco.api.openapi.shapes import Fid, Shape, Time, text
from koco.errors import ConflictError, LimitError


class NewMessage(msgspec.Struct, forbid_unknown_fields=True):
    """The data of a message: any JSON value."""

    data: shapes.Json = None


class Message(Shape):
    """A message that an execution gets, or already has."""

    fid: Fid
    name: Annotated[str, text("note")]
    created: Time
    by: shapes.Person
    taken: Annotated[
        str | None, Meta(description="the key of the step that received it; null until one does")
    ]


@post(
    "/v1/executions/{fid:str}/messages/{name:str}",
    guards=[requires("launch")],
    body=Body(media={JSON: NewMessage}, required=False),
    headers=[idempotency.HEADER],
    errors=[ConflictError, LimitError],
)
# The message may contain a password.
@idempotency.keyed(has_secret=True)
async def send_message(request: Request, fid: str, name: str) -> Message:
    """Send a message, `{"data": VALUE}`, to an execution; it is stored when this returns.

    The value may be any JSON; without it the message has none (null).
    `tracer.receive` gets the messages of a name in their order, each once. Those that come before
    it wait.
    """
    execution = await auth.find_execution(request, fid)
    hint = 'such as {"data": {"ok": true}}'
    given = await json_body.read(request, NewMessage, hint=hint, default=b"{}")
    # The reply is only in memory: a repeated request may come to the next control plane.
    key = request.headers.get(idempotency.HEADER)
    sent = await request.parts.waits.send(
        execution, name, given.data, by=request.auth.name, key=key
    )
    return Message.of(sent, fid=execution.fid)


ROUTES = (send_message,)
