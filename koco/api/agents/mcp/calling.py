"""`tools/call`: launch a flow, and answer with its result, a task, a question, or a stream.

A client that hangs up does not end the execution, although the protocol would like it: an
accepted execution is kept. Its fid is in the first progress message, and a call that is repeated
with the same idempotency key meets the same execution.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Any

from koco.api.agents.calls import Event
from koco.api.agents.mcp import elicitation, messages, outcomes, states, tasks, tools, versions
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError
from koco.errors import InputsError, KocoError, NotAllowedError
from koco.events.model import FINAL, Kind, Status
from koco.store.model import Execution

#: How long a call is waited for before it is answered with a task or a stream (seconds).
_SOON_S = 0.5
#: The shortest time between two progress messages (seconds), and their length (characters).
_PACE_S = 0.25
_MOST_TEXT = 500
#: The events that are told as progress, besides those that are read without it.
_TOLD = frozenset({Kind.STDOUT, Kind.ACTION, Kind.PROGRESS, Kind.RESULT, Kind.STEP, Kind.AGENT})
_READ = frozenset({Kind.STATUS})
#: The statuses at which a call may have its answer.
_SETTLING = (Status.AWAITING, *FINAL)

_NONE: Mapping[str, InputsError] = MappingProxyType({})

#: An answer: a result, or a stream of messages.
Answer = dict[str, Any] | AsyncGenerator[bytes, None]


async def call(ask: Ask) -> Answer:
    """Answer `tools/call`."""
    entry = tools.find(ask, ask.message.text("name"))
    arguments = ask.message.mapping("arguments")
    state = ask.message.params.get("requestState")
    refusals: dict[str, InputsError] = {}
    # A call that goes on has told its progress before.
    tells = ask.progress_token is not None and not ask.has_tasks and state is None
    with ask.calls.waiting():
        try:
            if state is not None:
                execution, refusals = await _go_on(ask, state)
            else:
                # Before its files are kept.
                ask.calls.require_launch("launch", entry.name)
                inputs = await tools.inputs_of(ask.calls, entry, arguments)
                key = _key(ask)
                execution, _ = await ask.calls.launch(entry, inputs, key=key, trace=ask.trace)
        except NotAllowedError:
            raise
        except KocoError as exc:
            return outcomes.of_error(exc)  # for the agent, which may correct the call
        if not tells:
            execution = await ask.calls.wait(execution, seconds=_SOON_S)
    found = await _settled(ask, execution, refusals)
    if found is not None and not tells:
        return found
    if ask.has_tasks:
        return tasks.created(ask, execution)
    return _stream(ask, execution, after=0 if state is None else execution.last_seq)


def _key(ask: Ask) -> str | None:
    key = ask.message.meta.get(versions.KEY)
    if key is not None and not isinstance(key, str):
        raise RpcError(versions.INVALID_PARAMS, f"_meta[{versions.KEY!r}] must be a string")
    return key


async def _go_on(ask: Ask, state: Any) -> tuple[Execution, dict[str, InputsError]]:
    """Answer the locks of an execution that an earlier round has launched.

    Return it with the refused answers, by lid: those locks are open still, and are asked again.
    """
    fid = await states.unseal(ask, state)
    execution = await ask.calls.execution(fid)
    responses = ask.message.mapping("inputResponses")
    refusals = await elicitation.answer_all(ask, execution, responses)
    return await ask.calls.execution(fid), refusals


async def _settled(
    ask: Ask, execution: Execution, refusals: Mapping[str, InputsError] = _NONE
) -> dict[str, Any] | None:
    """Return the result of a call that has ended, or that a person must go on with.

    Questions tell why their former answers were refused.
    """
    if execution.status.is_final:
        return await outcomes.of_execution(ask, execution)
    if execution.status is not Status.AWAITING or ask.has_tasks:
        return None
    questions, others = await elicitation.requests_of(ask, execution, refusals)
    if questions:
        state = await states.seal(ask, execution.fid)
        more = {"inputRequests": questions, "requestState": state}
        return {"resultType": "input_required", **more}
    return _awaiting(ask, execution, others)


def _awaiting(ask: Ask, execution: Execution, locks: list[str]) -> dict[str, Any]:
    """Return the result of a call that waits for a person whom this client cannot ask.

    If the tool has a schema for its results, this is not one of them, so it is an error: clients
    refuse any other result without data.
    """
    fid = execution.fid
    said = (
        f"The execution {fid} awaits a person: {', '.join(locks)}. It goes on after"
        f" `koco answer {fid}`; the resource {outcomes.uri_of(fid)} shows how it is. Another call"
        " would launch another execution."
    )
    name, kind = f"execution {fid}", "application/json"
    linked = outcomes.link(outcomes.uri_of(fid), name, kind=kind)
    content = [outcomes.text(said), *([linked] if outcomes.has_links(ask) else [])]
    is_error = outcomes.schema_of(ask, execution) is not None
    return {"content": content, "isError": is_error, "_meta": {versions.FID: fid}}


async def _stream(ask: Ask, execution: Execution, *, after: int) -> AsyncGenerator[bytes, None]:
    """Yield progress, if the client wants it, and the result; `after` an event, if not of all."""
    told = _Progress(ask)
    if told.is_wanted:
        yield told.message(0, f"the execution {execution.fid} is {execution.status}")
    kinds = _READ | _TOLD if told.is_wanted else _READ
    async for event in ask.calls.events(execution, after=after, kinds=kinds):
        if event is None:
            yield told.late() or b":\n\n"
            continue
        if (said := told.of(event)) is not None:
            yield said
        if event.kind == Kind.STATUS and _may_settle(event):
            now = await ask.calls.execution(execution.fid)
            if (found := await _settled(ask, now)) is not None:
                yield _last(ask, found)
                return


def _may_settle(event: Event) -> bool:
    status = event.payload.get("status") if isinstance(event.payload, dict) else None
    return status in _SETTLING


def _last(ask: Ask, found: dict[str, Any]) -> bytes:
    id_ = ask.message.id
    return messages.event(messages.result(id_, found, is_modern=ask.is_modern))


class _Progress:
    """Makes progress messages of events, a few each second at most."""

    def __init__(self, ask: Ask) -> None:
        self._token = ask.progress_token
        self._next = 0.0
        self._kept: tuple[int, str] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the client wants progress."""
        return self._token is not None

    def message(self, progress: float, text: str) -> bytes:
        """Return a progress message."""
        params = {"progressToken": self._token, "progress": progress, "message": text}
        return messages.event(messages.notification("notifications/progress", params))

    def of(self, event: Event) -> bytes | None:
        """Return the message about an event, unless the former one was a moment ago."""
        if not self.is_wanted or not (text := _told(event)):
            return None
        self._kept = (event.seq, text[:_MOST_TEXT])
        return self.late() if time.monotonic() >= self._next else None

    def late(self) -> bytes | None:
        """Return the message that is left to be told."""
        if self._kept is None:
            return None
        (seq, text), self._kept = self._kept, None
        self._next = time.monotonic() + _PACE_S
        return self.message(seq, text)


def _told(event: Event) -> str:
    """Return an event in a line of text."""
    value = event.payload
    if event.kind == Kind.PROGRESS and isinstance(value, dict):
        of = f"/{value['total']:g}" if value.get("total") else ""
        return " ".join(filter(None, [f"{value.get('done')}{of}", value.get("message")]))
    if event.kind in (Kind.STATUS, Kind.STEP) and isinstance(value, dict):
        return str(value.get("name") or value.get("status") or "")
    return outcomes.as_text(value).strip()
