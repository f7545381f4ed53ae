"""The recorded steps of an execution, as runner and control plane exchange them.

A step is a call whose outcome is recorded, so that it never runs again once it is. Waits that
outlive a process are recorded in the same way: timers, messages, other executions. A record
travels as a member of the line of its `step` event, so it is stored with the events before it.

Structs are encoded as arrays: add fields only at the end, and remove none.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from koco.events import line
from koco.events.model import Kind


class StepKind(StrEnum):
    """What a recorded step is."""

    #: A call of the flow's own code.
    STEP = "step"
    #: `tracer.sleep` and `tracer.sleep_until`.
    SLEEP = "sleep"
    #: `tracer.receive`.
    RECEIVE = "receive"
    #: `tracer.call`: another execution, whose result is awaited.
    CALL = "call"
    #: `tracer.launch`: another execution, whose result is not awaited.
    LAUNCH = "launch"
    #: `tracer.lock`: a person's answer. It is kept with the lock; the step is a row about it.
    LOCK = "lock"


class StepStatus(StrEnum):
    """The status of a recorded step."""

    RUNNING = "running"
    #: An attempt failed, and another one follows.
    RETRYING = "retrying"
    #: It waits for a time, a message, another execution or a person.
    WAITING = "waiting"
    FINISHED = "finished"
    ERROR = "error"
    #: A message or an answer did not arrive in time.
    EXPIRED = "expired"
    #: The flow stopped waiting.
    WITHDRAWN = "withdrawn"

    @property
    def is_final(self) -> bool:
        """Whether its outcome is recorded."""
        return self not in (StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.WAITING)


class StepRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a runner records of a call of the flow's own code."""

    #: Its place: `name:number`, where the number counts the calls of that name before it, and in
    #: front of that the place of the flow's own task, if it was called in one: `1.2/fetch:0`.
    key: str
    name: str
    #: The order of the calls in this execution, from 1.
    position: int
    #: A digest of its arguments, in hexadecimal.
    digest: str
    status: StepStatus
    #: The number of its latest attempt, from 1, and how many of them have failed. They differ if
    #: a process died meanwhile.
    attempt: int
    failures: int
    #: When its first attempt began (seconds since the epoch), and how long all took (seconds).
    started: float
    duration_s: float | None
    #: Its arguments, and its result or error, for people: short, with secrets masked.
    arguments: str
    preview: str
    #: The outcome, encoded by `koco.sdk.steps`, once it has one, and its size (bytes).
    result: bytes | None = None
    size_bytes: int = 0


class PastStep(msgspec.Struct, frozen=True, array_like=True):
    """A recorded step, as the runner that replays its execution gets it."""

    key: str
    name: str
    kind: StepKind
    position: int
    digest: str
    status: StepStatus
    attempt: int
    failures: int
    started: float
    arguments: str
    #: Of a step: `StepRecord.result`. Of a wait that is over: its `WaitOutcome`, as JSON.
    result: bytes | None = None
    #: Whether the result is large, so that it must be asked for (`ReadStep`).
    is_apart: bool = False


class PastLock(msgspec.Struct, frozen=True, array_like=True):
    """A lock that is settled: `outcome` is its `LockOutcome`, as JSON. It is none of the steps."""

    lid: str
    outcome: bytes


class Past(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of an execution that is replayed."""

    steps: list[PastStep] = []
    locks: list[PastLock] = []
    #: The marks of the stored events that its own code wrote: see `marks_of`.
    marks: dict[str, list[bytes]] = {}


_encoder = msgspec.msgpack.Encoder()
_decode_record = msgspec.msgpack.Decoder(StepRecord).decode
_decode_past = msgspec.msgpack.Decoder(Past).decode


def name_of(key: str) -> str:
    """Return the name in a key: see `StepRecord`."""
    place, _, rest = key.rpartition("/")
    name = rest.rpartition(":")[0]
    # A call of a thread has a digest of its arguments behind its name.
    return name.rpartition(".")[0] if place == "~" else name


def lock_id(fid: str, key: str) -> str:
    """Return the id of the lock at a place in an execution's code, so that a replay finds it."""
    return hashlib.blake2b(f"{fid}/{key}".encode(), digest_size=8).hexdigest()


def encode_past(past: Past) -> str:
    """Return the past of an execution as text, as the answer to `ReadHistory`."""
    return base64.b64encode(_encoder.encode(past)).decode()


def decode_past(text: str) -> Past:
    """Return the past of an execution from text."""
    return _decode_past(base64.b64decode(text))


#: The text before a record in its event's line, and after it.
RECORD = b'"record":"'
_END = b'",'


def encode_line(record: StepRecord, *, error: str = "") -> bytes:
    """Return the line of a step's event, with its record. `error` is a failed step's error."""
    event = describe(
        record.key,
        StepKind.STEP,
        record.status,
        attempt=record.attempt,
        duration_s=record.duration_s,
        size_bytes=record.size_bytes if record.result is not None else None,
        preview=record.preview,
        error=error,
    )
    packed = base64.b64encode(_encoder.encode(record))
    return line.with_member(line.encode(Kind.STEP, event), "record", packed)


def describe(
    key: str,
    kind: StepKind,
    status: StepStatus,
    *,
    attempt: int | None = None,
    duration_s: float | None = None,
    size_bytes: int | None = None,
    preview: str = "",
    error: str = "",
    until: str = "",
    fid: str = "",
) -> dict[str, object]:
    """Return the payload of a `step` event; members without a value are left out.

    `until` is the time at which a wait ends, `fid` the execution that was launched.
    """
    rest = {
        "attempt": attempt,
        "duration_s": None if duration_s is None else round(duration_s, 6),
        "size_bytes": size_bytes,
        "preview": preview or None,
        "error": error or None,
        "until": until or None,
        "fid": fid or None,
    }
    known = {name: value for name, value in rest.items() if value is not None}
    return {"step": key, "kind": kind, "status": status, **known}


def split_line(text: bytes) -> tuple[bytes, StepRecord | None]:
    """Return an event's line without its record, and the record if it has one.

    Raises:
        ValueError: the record cannot be read.
    """
    start = text.find(RECORD)
    # Only where `encode_line` puts it: a payload may contain the same text.
    if start < 0 or start != line.member_at(text):
        return text, None
    end = text.index(_END, start)
    packed = base64.b64decode(text[start + len(RECORD) : end], validate=True)
    record = _decode_record(packed)
    return text[:start] + text[end + len(_END) :], record


#: Kinds of events that a flow's own code writes.
_OWN = frozenset(
    kind.encode()
    for kind in (
        *(Kind.AGENT, Kind.DEBUG, Kind.STDOUT, Kind.STDERR),
        *(Kind.ACTION, Kind.PROGRESS, Kind.RESULT),
    )
)
_DIGITS = re.compile(rb"\d+")
_STEP, _STATUS = Kind.STEP.encode(), Kind.STATUS.encode()
#: A member of the status after which a step that had failed is tried again.
_FROM = b'"from":'


def mark_of(text: bytes) -> bytes:
    """Return the digest by which an event is recognised when its execution is replayed.

    Numbers are left out, because most lines that differ from run to run differ in a time.
    """
    kind = line.kind_of(text)
    payload = _DIGITS.sub(b"0", line.payload_of(text))
    return hashlib.blake2b(kind + b"\0" + payload, digest_size=8).digest()


def marks_of(lines: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Return the marks of the events that a flow's own process wrote, by their place, in order.

    Where a step that had failed was tried again, the events after its beginning do not count: the
    flow writes them again.
    """
    found: dict[str, list[tuple[int, bytes]]] = {}
    steps: list[tuple[int, bytes]] = []
    for number, text in enumerate(lines):
        kind = line.kind_of(text)
        if kind in _OWN and (at := line.place_of(text)) is not None:
            found.setdefault(at, []).append((number, mark_of(text)))
        elif kind == _STEP:
            steps.append((number, text))
        elif kind == _STATUS and _FROM in text:
            again = _payload(text)["from"]
            end = next((at for at, step in steps if _payload(step)["step"] == again), number)
            found = {at: [each for each in marks if each[0] < end] for at, marks in found.items()}
            found.pop(again, None)
            steps.clear()
    return {at: [mark for _, mark in marks] for at, marks in found.items() if marks}


def _payload(text: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = msgspec.json.decode(line.payload_of(text))
    return payload
