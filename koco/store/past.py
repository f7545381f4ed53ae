"""What is stored of an execution that is replayed: its steps, its locks, its own events."""

from collections.abc import Iterator, Sequence

import msgspec

from koco.events import line
from koco.events.steps import Past, PastLock, PastStep, StepStatus, marks_of
from koco.store.engine.protocol import Connection
from koco.store.model import ExportedStep, History, Outline, PastAnswer, PastResult
from koco.store.sql.table import columns
from koco.store.stream import events

#: Larger results are left out of a past (bytes), and so are those beyond this sum.
_LARGE, _SUM = 256 * 1024, 16 * 1024 * 1024
#: How much of the events is read at once (bytes).
_READ_BYTES = 8 * 1024 * 1024

#: How many steps of a history are read at once, and how large their outcomes may be (bytes). An
#: outcome that is larger is read alone.
_PIECE, _PIECE_BYTES = 250, 512 * 1024

_FINAL = {each.value for each in StepStatus if each.is_final}

_EXPORTED = [name for name in PastResult.__struct_fields__ if name != "result"]


def read(db: Connection, execution: int, *, marks: bool) -> Past:
    """Return the past of an execution, if wanted with the marks of its own events."""
    found = marks_of(_lines(db, execution)) if marks else {}
    return Past(_steps(db, execution), _locks(db, execution), found)


def outline(db: Connection, execution: int) -> Outline:
    """Return the history of an execution, without its steps."""
    fid, flow, inputs, moments = db.execute(
        "SELECT fid, flow, inputs, moments FROM executions WHERE id = :id", {"id": execution}
    ).fetchone()
    history = History(
        fid=fid,
        flow=flow,
        inputs=msgspec.json.decode(inputs),
        moments=msgspec.json.decode(moments) if moments else [],
        steps=[],
        locks=[answer for _, answer in _answers(db, execution)],
    )
    pieces, unsettled = _pieces(db, execution)
    return Outline(history, pieces, unsettled)


def exported(db: Connection, rows: Sequence[int]) -> list[ExportedStep]:
    """Return some steps of a history, in their order."""
    found = db.execute(
        f"SELECT id, {columns(_EXPORTED)}, result FROM steps WHERE id IN"
        f" (SELECT value FROM {db.dialect.numbers('rows')} AS given) ORDER BY position, id",
        {"rows": msgspec.json.encode(rows).decode()},
    ).fetchall()
    fields = [dict(zip(_EXPORTED, row[1:-1], strict=True)) for row in found]
    # At once, because each of thousands would cost ten times as much.
    steps = msgspec.convert(fields, list[PastResult])
    return [ExportedStep(row[0], step, row[-1]) for step, row in zip(steps, found, strict=True)]


def _steps(db: Connection, execution: int) -> list[PastStep]:
    # A wait that was withdrawn has no outcome. If the flow comes to it again, it is open.
    rows = db.iterate(
        "SELECT key, name, kind, position, digest,"
        " CASE WHEN status = 'withdrawn' THEN 'waiting' ELSE status END,"
        " attempt, failures, started, arguments,"
        " CASE WHEN length(result) <= :large THEN result END,"
        " blob IS NOT NULL OR coalesce(length(result), 0) > :large"
        " FROM steps WHERE execution = :execution AND kind <> 'lock' ORDER BY position, id",
        {"execution": execution, "large": _LARGE},
    )
    left = _SUM
    found = []
    for *facts, result, is_apart in rows:
        if result is not None and (left := left - len(result)) < 0:
            result, is_apart = None, True  # noqa: PLW2901 - it is left out
        found.append((*facts, result, bool(is_apart)))
    # At once, because each of thousands would cost ten times as much.
    return msgspec.convert(found, list[PastStep])


def _pieces(db: Connection, execution: int) -> tuple[list[list[int]], dict[int, StepStatus]]:
    """Return the rows of an execution's steps in pieces, and those without an outcome."""
    rows = db.execute(
        "SELECT id, status, size_bytes FROM steps WHERE execution = :execution"
        " AND kind <> 'lock' ORDER BY position, id",
        {"execution": execution},
    )
    pieces: list[list[int]] = []
    unsettled = {}
    left, left_bytes = 0, 0
    for number, status, size_bytes in rows:
        left, left_bytes = left - 1, left_bytes - size_bytes
        if left < 0 or left_bytes < 0:
            pieces.append([])
            left, left_bytes = _PIECE - 1, _PIECE_BYTES - size_bytes
        pieces[-1].append(number)
        if status not in _FINAL:
            unsettled[number] = StepStatus(status)
    return pieces, unsettled


def _locks(db: Connection, execution: int) -> list[PastLock]:
    return [
        PastLock(lid, msgspec.json.encode(each.outcome)) for lid, each in _answers(db, execution)
    ]


def _answers(db: Connection, execution: int) -> Iterator[tuple[str, PastAnswer]]:
    """Yield the settled locks of an execution that have a place, with their lids."""
    rows = db.execute(
        "SELECT l.lid, l.key, l.name, l.status, l.answer, l.moments, coalesce(s.position, 0)"
        " FROM locks l LEFT JOIN steps s ON s.execution = l.execution AND s.key = l.key"
        " WHERE l.execution = :execution AND l.status IN ('answered', 'expired') AND l.key <> ''"
        " ORDER BY l.created, l.lid",
        {"execution": execution},
    ).fetchall()
    for lid, key, name, status, answer, moments, position in rows:
        yield (
            lid,
            PastAnswer(
                key=key,
                name=name,
                status=status,
                answer=msgspec.json.decode(answer) if answer else None,
                moments=msgspec.json.decode(moments) if moments else [],
                position=position,
            ),
        )


def _lines(db: Connection, execution: int) -> Iterator[bytes]:
    """Yield an execution's events, in their order."""
    seq = 0
    while chunks := events.after(db, execution, seq, _READ_BYTES):
        for chunk in chunks:
            seq = chunk.last
            yield from (text for _, text in line.number_lines(chunk.first, chunk.body))
