"""An event as one line of JSON, encoded once, by its producer.

A line lacks its opening `{"seq":N,`, because the number is only known when the
store commits the event. The time stamp has a fixed width, so the kind is at a
fixed place: readers filter by kind and number events without parsing them.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from koco import tokens
from koco.events import text_values, values
from koco.events.model import Kind

#: The offset of the kind: after `"ts":"`, 27 characters of time, and `","kind":"`.
_KIND_AT = 6 + 27 + 10

_PAYLOAD = b'"payload":'
_AT = b'"at":"'

#: The largest payload that is kept whole (bytes of its JSON).
PAYLOAD_BYTES = 64 * 1024 * 1024
#: How much is kept of a larger one (bytes of its JSON).
_START_BYTES = 64 * 1024

#: How koco's own keys and tokens begin. No event shows them; `koco.tokens` knows their full form.
_KEYS = b"koco"

#: Masks this process's secrets in a payload's JSON. Set by `koco.sdk.process.secrets`.
mask: Callable[[bytes], bytes] | None = None

#: The bytes between an event's time and its payload or task, by kind.
_KINDS = {kind: b'","kind":"%b",' % kind.encode() for kind in Kind}


def timestamp(now: float | None = None) -> str:
    """Return a time (seconds since the epoch) as RFC 3339 in UTC, with microseconds."""
    seconds, micros = divmod(int((time.time() if now is None else now) * 1_000_000), 1_000_000)
    # Adding a digit keeps the leading zeros and costs half as much as formatting.
    return f"{_second(seconds)}.{str(1_000_000 + micros)[1:]}Z"


def timestamp_if_any(at_s: float | None) -> str | None:
    """Return a time (seconds since the epoch) as `timestamp` does, and None for None."""
    return None if at_s is None else timestamp(at_s)


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return the date and time of a second. Formatting it costs more than the rest of an event."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


_encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode

#: Types that lose nothing as JSON.
_SCALARS = frozenset({str, int, bool, type(None)})


def encode_payload(payload: Any) -> bytes:
    """Return any payload as JSON, with secrets masked. See `koco.events.values`."""
    encoded = encode_simple(payload)
    if encoded is None:
        try:
            encoded = _encode_json(values.to_plain(payload))
        except Exception:  # noqa: BLE001 - a user's value must not fail the flow
            encoded = _encode_json(values.to_repr(payload))
    # Mask before truncating: half a secret would not be recognised.
    return encoded if mask is None else mask(encoded)


def encode_simple(payload: Any) -> bytes | None:
    """Return the JSON of plain data at `msgspec`'s speed, or None if the payload is not plain.

    Runs no user code, except for a time's zone.
    """
    try:
        encoded = _encode_json(payload)
        kind = type(payload)
        if kind in _SCALARS:
            fits = kind is not int or payload.bit_length() <= text_values.NUMBER_BITS
            return encoded if fits else None
        return encoded if _is_faithful(payload, encoded) else None
    except Exception:  # noqa: BLE001 - another type, half a surrogate pair, a cyclic value, …
        return None


def _is_faithful(payload: Any, encoded: bytes) -> bool:
    has_null = encoded.find(b"null") >= 0  # half of what `in` costs, for each event
    parts = encoded.count(b"{") + encoded.count(b"[")
    # A closer look costs more than encoding, and most payloads are flat.
    if parts <= 1 and not has_null:
        kind = type(payload)
        # A set has no order, but its JSON needs one.
        return values.has_text_keys(payload) if kind is dict else kind not in (set, frozenset)
    if parts <= values.DEEPEST and bool(msgspec.json.decode(encoded) == payload):
        return True
    return values.is_faithful(payload, has_null=has_null)


def encode(kind: Kind, payload: Any, *, now: float | None = None, task: str = "") -> bytes:
    """Return the event as a line without its number; `task` is the Ray task that sent it."""
    stamp = timestamp(now).encode()
    encoded = encode_payload(payload)
    if encoded.find(_KEYS) >= 0:
        encoded = tokens.mask_all(encoded.decode()).encode()
    if len(encoded) > PAYLOAD_BYTES:
        encoded = _truncate(f"{type(payload).__module__}.{type(payload).__qualname__}", encoded)
    # Before the payload, because `limit_payload` expects the payload at the end.
    by = b'"task":%b,' % encode_payload(task) if task else b""
    return b"".join((b'"ts":"', stamp, _KINDS[kind], by, _PAYLOAD, encoded, b"}"))


def member_at(line: bytes) -> int:
    """Return the offset of what follows a line's kind: the payload, or another member."""
    return line.index(b'"', _KIND_AT) + 2


def with_member(line: bytes, name: str, text: bytes) -> bytes:
    """Return a line with another member before the payload. `text` needs no escapes."""
    at = member_at(line)
    return b'%b"%b":"%b",%b' % (line[:at], name.encode(), text, line[at:])


def payload_of(line: bytes) -> bytes:
    """Return a line's payload."""
    return line[_payload_at(line) : -1]


def start_of_payload(line: bytes) -> bytes:
    """Return what there is of the payload in the beginning of a line, or nothing."""
    _, _, payload = line[_KIND_AT:].partition(_PAYLOAD)
    return payload


def with_payload(line: bytes, payload: Any) -> bytes:
    """Return a line with another payload, which must be plain data."""
    return line[: _payload_at(line)] + _encode_json(payload) + b"}"


def _payload_at(line: bytes) -> int:
    return line.index(_PAYLOAD, _KIND_AT) + len(_PAYLOAD)


def place_of(line: bytes) -> str | None:
    """Return where in its flow's code a line was written: empty for the flow's main task.

    None if a Ray task wrote it, or if it is a line of koco's.
    """
    at = member_at(line)
    if line.startswith(_PAYLOAD, at):
        return ""
    if line.startswith(_AT, at):
        start = at + len(_AT)
        return line[start : line.index(b'"', start)].decode()
    return None


def limit_payload(line: bytes, most_bytes: int) -> bytes:
    """Return the line, with a payload above `most_bytes` truncated.

    An error's payload keeps its form: only its texts are shortened.
    """
    at = _payload_at(line)
    payload = line[at:-1]
    if len(payload) <= most_bytes:
        return line
    if kind_of(line) == Kind.ERROR.encode():
        short = _encode_json(_shorten_error(msgspec.json.decode(payload), most_bytes // 8))
    else:
        kind = {b"{": "dict", b"[": "list", b'"': "str"}.get(payload[:1], "int")
        short = _truncate(f"builtins.{kind}", payload, min(_START_BYTES, most_bytes // 2))
    return line[:at] + short + b"}"


def _shorten_error(error: dict[str, Any], most: int) -> dict[str, Any]:
    """Shorten an error's texts to `most` characters. A traceback keeps its end, which says most."""
    return {
        name: value[-most:] if name == "traceback" else value[:most]
        for name, value in error.items()
        if isinstance(value, str)
    }


def _truncate(kind: str, encoded: bytes, start_bytes: int = _START_BYTES) -> bytes:
    """Return the JSON for a payload that is too large: its size, type and beginning."""
    start = encoded[:start_bytes].decode("utf-8", "ignore")
    return _encode_json({"$cut": len(encoded), "$type": kind, "$start": start})


def kind_of(line: bytes) -> bytes:
    """Return a line's kind by its place. The result is arbitrary if the line is not an event."""
    return line[_KIND_AT : line.find(b'"', _KIND_AT)]


def last_of_kind(kind: Kind, body: bytes) -> bytes | None:
    """Return the last line of a kind in a chunk's body, without looking at each line."""
    mark, end = _KINDS[kind], len(body)
    while (at := body.rfind(mark, 0, end)) >= 0:
        start = body.rfind(b"\n", 0, at) + 1
        if body.startswith(mark, start + _KIND_AT - len(b'","kind":"')):
            stop = body.find(b"\n", at)
            return body[start:] if stop < 0 else body[start:stop]
        end = start  # it is a part of a payload, which may have many more
    return None


def number_lines(first: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield `(seq, line)` for each event of a chunk's body; `first` is the first one's number."""
    return enumerate(body.split(b"\n"), first)


def with_seq(seq: int, line: bytes) -> bytes:
    """Return the whole event as a JSON object, without a newline."""
    return b'{"seq":%d,%b' % (seq, line)


def decode(seq: int, line: bytes) -> dict[str, Any]:
    """Return an event as `{seq, ts, kind, payload}`."""
    event: dict[str, Any] = msgspec.json.decode(with_seq(seq, line))
    return event


def filter_kinds(
    kinds: Iterable[str], lines: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines whose kind is one of `kinds`."""
    wanted = {kind.encode() for kind in kinds}
    return (pair for pair in lines if kind_of(pair[1]) in wanted)
