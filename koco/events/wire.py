"""The messages between producers and the control plane, as bytes, across versions.

Structs are encoded as arrays: add fields only at the end, and remove none.
Questions and answers are encoded as JSON, because they hold a flow's values.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from koco.errors import KocoError, from_wire
from koco.events import line
from koco.events.model import Status
from koco.events.questions import A, Question
from koco.events.used import Used


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events of one execution from one producer, numbered by it from `first`.

    `body` holds `count` lines (see `line.encode`) joined by newlines. `status` is set
    if the last line changes the execution's status. `runner` names the runner that
    sends the batch and is empty for other producers. `attempt` is the number of the
    execution's attempt, 0 if unknown. `is_last` means that the execution has returned:
    the runner sends the events that it still holds, and produces no further ones. `used` is
    what the execution has used so far; None if it is not told.
    """

    fid: str
    producer: str
    first: int
    count: int
    body: bytes
    runner: str = ""
    status: Status | None = None
    attempt: int = 0
    is_last: bool = False
    used: Used | None = None

    def is_held(self, ack: "Ack") -> bool:
        """Return whether the producer may forget this batch, given the answer to it."""
        return ack.closed or ack.last >= self.first + self.count - 1


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a batch: which of its producer's events the store has committed.

    `last` is the highest number up to which the store holds every event. The producer
    must send everything above it again. `closed` means that the store takes no more
    events from this producer, because the execution has its final status, does not
    exist, or has another runner.
    """

    last: int
    closed: bool = False


_encoder = msgspec.msgpack.Encoder()

#: Batches as bytes, and back.
encode_batches: Callable[[list[Batch]], bytes] = _encoder.encode
decode_batches: Callable[[bytes], list[Batch]] = msgspec.msgpack.Decoder(list[Batch]).decode

#: Acknowledgements as bytes, in the order of their batches, and back.
encode_acks: Callable[[list[Ack]], bytes] = _encoder.encode
decode_acks: Callable[[bytes], list[Ack]] = msgspec.msgpack.Decoder(list[Ack]).decode


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A question to the control plane about an execution, by its name and arguments.

    `attempt` is the number of the attempt that asks, 0 if it is unknown or irrelevant.
    """

    fid: str
    name: str
    arguments: dict[str, Any]
    attempt: int = 0


def encode_question(fid: str, question: Question[Any], *, attempt: int = 0) -> bytes:
    """Return a question to the control plane as bytes; see `Request`."""
    return line.encode_payload([fid, question.NAME, msgspec.structs.asdict(question), attempt])


def decode_question(blob: bytes) -> Request:
    """Return the question in bytes."""
    return msgspec.json.decode(blob, type=Request)


def encode_answer(value: Any) -> bytes:
    """Return an answer as bytes. A `KocoError` can be an answer, too."""
    if isinstance(value, KocoError):
        return line.encode_payload(value.to_wire())
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    return line.encode_payload({"answer": value})


def decode_answer(blob: bytes, question: Question[A]) -> A:
    """Return the answer to a question, or raise it if it is a `KocoError`."""
    answer = msgspec.json.decode(blob)
    if "answer" not in answer:
        raise from_wire(answer)
    value: A = msgspec.convert(answer["answer"], question.ANSWER)
    return value
