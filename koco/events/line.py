"""An event as one line of JSON, encoded once, by its producer.

A line lacks its opening `{"seq":N,`, which is only known when the store commits
it. As the time stamp's width is fixed, the kind stands at a fixed place: readers
filter by kind and number events without parsing them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from koco import tokens
from koco.events import texts, values
from koco.events.model import Kind

#: Where the kind begins: after `"ts":"`, 27 characters of time, and `","kind":"`.
_KIND_AT = 6 + 27 + 10

_PAYLOAD = b'"payload":'

#: The largest payload that is kept whole (bytes of its JSON).
PAYLOAD_BYTES = 64 * 1024 * 1024
#: How much is kept of a larger one (bytes of its JSON).
_START_BYTES = 64 * 1024

#: How koco's own keys and tokens begin, which no event shows; the rest is `koco.config`'s to know.
_KEYS = b"koco"

#: Takes out of a payload's JSON what this process must not tell (`koco.sdk.secrets`).
mask: Callable[[bytes], bytes] | None = None

_last_second = (-1, "")


def timestamp(now: float | None = None) -> str:
    """Return a time (seconds since the epoch) as RFC 3339 in UTC, with microseconds."""
    global _last_second
    seconds, micros = divmod(int((time.time() if now is None else now) * 1_000_000), 1_000_000)
    # Formatting a date costs more than the rest of an event: once a second will do.
    second, text = _last_second
    if second != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _last_second = (seconds, text)
    return f"{text}.{micros:06d}Z"


_encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode

#: What is JSON as it stands: nothing in it can be lost.
_SCALARS = frozenset({str, int, bool, type(None)})


def encode_payload(payload: Any) -> bytes:
    """Return a payload as JSON, whatever it is: see `koco.events.values`."""
    encoded = quick(payload)
    if encoded is None:
        try:
            encoded = _encode_json(values.plain(payload))
        except Exception:  # noqa: BLE001 - whatever a user's value does, it does not fail the flow
            encoded = _encode_json(values.as_repr(payload))
    # Here, before anything is cut: half a value would not be known again.
    return encoded if mask is None else mask(encoded)


def quick(payload: Any) -> bytes | None:
    """Return the JSON of what is plain data, at `msgspec`'s speed, or None where it is not.

    Runs no code of the user's, but for the zone of a time.
    """
    try:
        encoded = _encode_json(payload)
        kind = type(payload)
        if kind in _SCALARS:
            fits = kind is not int or payload.bit_length() <= texts.NUMBER_BITS
            return encoded if fits else None
        return encoded if _is_faithful(payload, encoded) else None
    except Exception:  # noqa: BLE001 - another type, half a surrogate pair, a value within itself, …
        return None


def _is_faithful(payload: Any, encoded: bytes) -> bool:
    has_null = b"null" in encoded
    parts = encoded.count(b"{") + encoded.count(b"[")
    # Looking closer costs more than encoding, and most payloads are flat.
    if parts <= 1 and not has_null:
        kind = type(payload)
        # A set has no order: its JSON is to have one.
        return values.has_names(payload) if kind is dict else kind not in (set, frozenset)
    if parts <= values.DEEPEST and bool(msgspec.json.decode(encoded) == payload):
        return True
    return values.is_faithful(payload, has_null=has_null)


def encode(kind: Kind, payload: Any, *, now: float | None = None, task: str = "") -> bytes:
    """Return the event as a line without its number; `task` is the Ray task that wrote it."""
    stamp = timestamp(now)
    encoded = encode_payload(payload)
    if _KEYS in encoded:
        encoded = tokens.mask_all(encoded.decode()).encode()
    if len(encoded) > PAYLOAD_BYTES:
        encoded = _cut(f"{type(payload).__module__}.{type(payload).__qualname__}", encoded)
    # Before the payload, which `fitting` takes to be the last.
    by = b'"task":%b,' % encode_payload(task) if task else b""
    return b'"ts":"%b","kind":"%b",%b"payload":%b}' % (stamp.encode(), kind.encode(), by, encoded)


def fitting(line: bytes, most_bytes: int) -> bytes:
    """Return a line whose payload is no larger; what is, is cut. An error stays one."""
    at = line.index(_PAYLOAD, _KIND_AT) + len(_PAYLOAD)
    payload = line[at:-1]
    if len(payload) <= most_bytes:
        return line
    if kind_of(line) == Kind.ERROR.encode():
        cut = _encode_json(_shortened(msgspec.json.decode(payload), most_bytes // 8))
    else:
        kind = {b"{": "dict", b"[": "list", b'"': "str"}.get(payload[:1], "int")
        cut = _cut(f"builtins.{kind}", payload, min(_START_BYTES, most_bytes // 2))
    return line[:at] + cut + b"}"


def _shortened(error: dict[str, Any], most: int) -> dict[str, Any]:
    """Return an error whose texts are no longer; of a traceback, the end says most."""
    return {
        name: value[-most:] if name == "traceback" else value[:most]
        for name, value in error.items()
        if isinstance(value, str)
    }


def _cut(kind: str, encoded: bytes, start_bytes: int = _START_BYTES) -> bytes:
    """Return what stands for a payload that is too large: its size, and how it begins."""
    start = encoded[:start_bytes].decode("utf-8", "ignore")
    return _encode_json({"$cut": len(encoded), "$type": kind, "$start": start})


def kind_of(line: bytes) -> bytes:
    """Return the kind of a line, by its place; what is no event has an odd one."""
    return line[_KIND_AT : line.find(b'"', _KIND_AT)]


def numbered(first: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield `(seq, line)` for a chunk's body whose first event has the number `first`."""
    return enumerate(body.split(b"\n"), first)


def with_seq(seq: int, line: bytes) -> bytes:
    """Return the whole event as a JSON object, without a newline."""
    return b'{"seq":%d,%b' % (seq, line)


def decode(seq: int, line: bytes) -> dict[str, Any]:
    """Return an event as `{seq, ts, kind, payload}`."""
    event: dict[str, Any] = msgspec.json.decode(with_seq(seq, line))
    return event


def only(kinds: Iterable[str], lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines whose kind is one of `kinds`."""
    wanted = {kind.encode() for kind in kinds}
    return (pair for pair in lines if kind_of(pair[1]) in wanted)
