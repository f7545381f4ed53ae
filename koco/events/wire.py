"""Batches and acknowledgements as bytes, between processes that may run other versions.

Structs travel as arrays: a field may be added at the end, and none removed.
"""

import msgspec

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
