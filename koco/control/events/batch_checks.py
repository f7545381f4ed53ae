"""What is taken for events: services' code may call the control plane as their runners do.

Whatever is stored is sent to readers as it is, and found by its place. So all of it is looked at
before, as a whole rather than line by line: about 0.15 µs for each event.
"""

import re

import msgspec

from koco.events.line import PAYLOAD_BYTES
from koco.events.model import Batch, Kind

#: How large the events of one batch are together (bytes). A runner sends 88 KiB at a time, or one
#: event; of a task, all that several threads wrote at once.
_MOST_BYTES = 4 * PAYLOAD_BYTES
#: The longest name of a producer, and the highest number of an event.
_LONGEST, _LAST = 100, 2**53

#: Only the store writes these: a producer's would lie about the execution, or end its streams.
_OURS = {Kind.META, Kind.INPUTS, Kind.STATUS, Kind.UPLOAD, Kind.LOCK, Kind.LEASE}

#: Lines that have their time, their kind and their payload at their places, each after a newline.
#: In one go, and with nothing optional in it, which costs as much again.
_LINES = re.compile(
    rb'(?:\n"ts":".{26}Z","kind":"(?:%b)","(?:payload":|task":"[^"\\]*+(?:\\.[^"\\]*+)*+","payload":)[^\n]*+)*+'
    % "|".join(kind for kind in Kind if kind not in _OURS).encode(),
    re.DOTALL,
)

_objects = msgspec.json.Decoder(msgspec.Raw)


def fault_of(batch: Batch) -> str | None:
    """Return what is wrong with a batch of events, or None where it can be stored."""
    if not (0 < batch.first <= _LAST and 0 <= batch.count <= _LAST):
        return f"its events are numbered {batch.first} and following, {batch.count} of them"
    if len(batch.producer) > _LONGEST:
        return f"its producer's name has {len(batch.producer)} characters"
    if batch.status is not None and not batch.runner:
        return f"it has the status {batch.status}, and comes from no runner"
    if len(batch.body) > _MOST_BYTES:
        return f"it has {len(batch.body)} bytes"
    if not batch.count:
        return "it has text, and no events" if batch.body else None
    lines = b"\n" + batch.body
    if not (known := _LINES.match(lines)) or known.end() < len(lines):
        at = known.end() if known else 0
        return f"a line of it is no event: {_shown(lines[at + 1 :])}"
    try:
        if not lines.isascii():
            lines.decode()
        objects = lines.replace(b"\n", b"\n{")
        # Each ends at a newline: so many as there are lines are one in each.
        found = len(_objects.decode_lines(objects))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return f"a line of it is no JSON: {exc}"
    is_whole = found == batch.count == len(objects) - len(lines)
    return None if is_whole else f"it says that it has {batch.count} events, and has {found}"


def _shown(text: bytes) -> str:
    return repr(text[:80].partition(b"\n")[0])[1:]
