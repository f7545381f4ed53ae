"""All operations by their names, and how one is performed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from koco.api.agents.a2a.faults import VERSION, A2AError
from koco.api.agents.a2a.operations import following, listing, pushes, sending
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.reading import proto_json, requests
from koco.api.agents.a2a.shapes import cards
from koco.api.agents.a2a.shapes.messages import Json
from koco.api.http.request import Request

#: What an operation that streams yields; None is a heartbeat.
Stream = AsyncGenerator[Json | None]

#: The version that a client speaks if it does not say (the specification's section 3.6.2).
_OLD = "0.3"


class Operation(NamedTuple):
    """An operation: the request that it reads, and what it does."""

    reads: type[msgspec.Struct]
    answer: Callable[[Agent, Any], Awaitable[Json]] | None = None
    #: The same for one that streams its answer.
    stream: Callable[[Agent, Any], Stream] | None = None


OPERATIONS: Mapping[str, Operation] = {
    "SendMessage": Operation(requests.SendMessage, sending.send),
    "SendStreamingMessage": Operation(requests.SendMessage, stream=sending.send_streaming),
    "GetTask": Operation(requests.GetTask, listing.get),
    "ListTasks": Operation(requests.ListTasks, listing.page),
    "CancelTask": Operation(requests.ById, listing.cancel),
    "SubscribeToTask": Operation(requests.ById, stream=following.subscribe),
    "CreateTaskPushNotificationConfig": Operation(requests.NewPushConfig, pushes.create),
    "GetTaskPushNotificationConfig": Operation(requests.ByPushConfig, pushes.get),
    "ListTaskPushNotificationConfigs": Operation(requests.ListPushConfigs, pushes.page),
    "DeleteTaskPushNotificationConfig": Operation(requests.ByPushConfig, pushes.delete),
    "GetExtendedAgentCard": Operation(requests.GetCard, listing.card),
}


async def perform(agent: Agent, name: str, given: Any) -> Json | tuple[Json, Stream]:
    """Perform an operation; return its answer, or the first answer of several and the others.

    Raises:
        KocoError: it is refused. Nothing was begun.
    """
    require_version(agent.request)
    operation = OPERATIONS[name]
    asked = proto_json.read(given, operation.reads)
    if operation.answer is not None:
        return await operation.answer(agent, asked)
    assert operation.stream is not None
    others = operation.stream(agent, asked)
    # The first one is made now, because an error is no stream.
    first = await anext(others)
    assert first is not None
    return first, others


def require_version(request: Request) -> None:
    """Refuse clients of other versions of the protocol.

    Raises:
        A2AError: the header or the parameter names another version, or there is none.
    """
    name = "A2A-Version"
    given = request.headers.get(name) or request.query_params.get(name) or _OLD
    # A version is its first two numbers.
    if ".".join(given.split(".")[:2]) != cards.VERSION:
        raise A2AError(
            VERSION,
            f"version {given[:20]!r} of A2A is not supported",
            hint=f"send the header `{name}: {cards.VERSION}`",
        )
