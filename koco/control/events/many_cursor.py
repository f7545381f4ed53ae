"""The cursor of a stream over many executions: how far each of them was sent.

It is a text that clients give back as they got it. It holds numbers only, and whoever gives one
back still gets only what the filter and the caller's rights allow.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from koco.store.errors import invalid_cursor

#: How many executions a cursor may hold, and the bytes that these may take.
_MOST = 100_000
_BYTES = 1024 * 1024


class Position(NamedTuple):
    """A position in a stream: in the feed of changes, and the last event of each execution.

    Executions are given by their number in the store.
    """

    change: int
    seqs: Mapping[int, int]


def encode(position: Position) -> str:
    """Return the cursor of a position."""
    numbers, former = [position.change], 0
    for number, seq in sorted(position.seqs.items()):
        numbers += (number - former, seq)
        former = number
    packed = zlib.compress(b"".join(map(_varint, numbers)))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(cursor: str) -> Position:
    """Return the position of a cursor.

    Raises:
        UsageError: it was never issued.
    """
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        unpacking = zlib.decompressobj()
        body = unpacking.decompress(packed, _BYTES)
        change, *others = _numbers(body)
        if not unpacking.eof or len(others) % 2 or len(others) > 2 * _MOST:
            raise ValueError
    except (ValueError, binascii.Error, zlib.error) as exc:
        raise invalid_cursor(cursor[:80]) from exc
    seqs: dict[int, int] = {}
    number = 0
    for delta, seq in zip(others[::2], others[1::2], strict=True):
        number += delta
        seqs[number] = seq
    if max([change, number, *seqs.values()]) >= 2**62:
        raise invalid_cursor(cursor[:80])
    return Position(change, seqs)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _numbers(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        number |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError
        if byte < 128:
            yield number
            number = shift = 0
    if shift:
        raise ValueError
