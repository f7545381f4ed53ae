"""What producers and the control plane say to each other, as bytes, across versions.

Structs travel as arrays: a field may be added at the end, and none removed.
Questions and their answers travel as JSON: their values are a flow's own.
"""

from typing import Any

import msgspec

from koco.errors import KocoError, from_wire
from koco.events import line
from koco.events.model import Ack, Batch

_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(list[Batch])
_acks = msgspec.msgpack.Decoder(list[Ack])


def encode_batches(batches: list[Batch]) -> bytes:
    """Return batches as bytes."""
    return _encoder.encode(batches)


def decode_batches(blob: bytes) -> list[Batch]:
    """Return the batches in bytes."""
    return _batches.decode(blob)


def encode_acks(acks: list[Ack]) -> bytes:
    """Return acknowledgements as bytes, in the order of their batches."""
    return _encoder.encode(acks)


def decode_acks(blob: bytes) -> list[Ack]:
    """Return the acknowledgements in bytes."""
    return _acks.decode(blob)


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What the control plane is asked, by its name, about an execution.

    `attempt` says which attempt of it asks, 0 where that makes no difference or is not known.
    """

    fid: str
    name: str
    arguments: dict[str, Any]
    attempt: int = 0


def encode_question(
    fid: str, question: str, arguments: dict[str, Any], *, attempt: int = 0
) -> bytes:
    """Return a question to the control plane as bytes; see `Question`."""
    return line.encode_payload([fid, question, arguments, attempt])


def decode_question(blob: bytes) -> Question:
    """Return the question in bytes."""
    return msgspec.json.decode(blob, type=Question)


def encode_answer(value: Any) -> bytes:
    """Return an answer as bytes; a `KocoError` is one, too."""
    if isinstance(value, KocoError):
        return line.encode_payload(value.to_wire())
    return line.encode_payload({"answer": value})


def decode_answer(blob: bytes) -> Any:
    """Return what was answered, or raise the `KocoError` that was."""
    answer = msgspec.json.decode(blob)
    if "answer" not in answer:
        raise from_wire(answer)
    return answer["answer"]
