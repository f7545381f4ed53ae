"""The steps of an execution's life: each is one change, with the events that record it.

These functions run within a change. An execution is `awaiting` exactly while it has an open lock.
"""

import time

from koco.events import line
from koco.events.model import Kind, Status
from koco.sizes import MB
from koco.store import usage
from koco.store.engine.protocol import Connection
from koco.store.model import FailureEvent, RunnerStart, Topic
from koco.store.sql.table import payload_to_json, to_json
from koco.store.stream import ledger, outbox, replay, waits
from koco.store.stream.ledger import (
    NONE,
    Lines,
    State,
    lines,
    policy_of,
    state,
)

#: The statuses from which a batch may move an execution to each status.
_REACHED_FROM = {
    Status.STARTING: {Status.QUEUED},
    Status.QUEUED: {Status.STARTING},
    # Batches do not lead to `awaiting` or back, because that depends on open locks.
    Status.RUNNING: {Status.STARTING},
    Status.AWAITING: set(),
    # Nor to `sleeping`, because that is for executions without a process.
    Status.SLEEPING: set(),
}

#: How long executions may take to end whose parent has ended (seconds).
_GRACE_S = 5.0

#: Kinds of events with an execution's outcome.
OUTCOMES = {Kind.FINAL.encode(), Kind.ERROR.encode()}

#: Whether an execution has open locks or waits, or others wait for it.
_HAS_OPEN = (
    "SELECT EXISTS (SELECT 1 FROM locks WHERE execution = :id AND status = 'open')"
    " OR EXISTS (SELECT 1 FROM steps WHERE execution = :id AND status = 'waiting')"
    " OR EXISTS (SELECT 1 FROM steps WHERE child = :fid AND status = 'waiting')"
)

#: The text before the end of a stream that was cut: see `koco.store.stream.events`.
_WAS_CUT = "koco: {:,} events of this execution, {:,.1f} MB, were not kept"


def may_reach(now: Status, status: Status) -> bool:
    """Whether an execution may go from one status to another."""
    return status.is_final or now in _REACHED_FROM[status]


def assign(db: Connection, fid: str, runner: str, start: RunnerStart | None = None) -> bool:
    """Give a queued execution to a runner. `start` is the runner's, if it waited for that."""
    taken = db.execute(
        "UPDATE executions SET runner = :runner, not_before = NULL"
        " WHERE fid = :fid AND status = 'queued' AND cancel_requested IS NULL",
        {"fid": fid, "runner": runner},
    )
    return taken.rowcount > 0 and _advance(db, fid, Status.STARTING, start)


def requeue(db: Connection, fid: str, runner: str) -> bool:
    """Take back an execution that its runner never began."""
    now = state(db, fid)
    if now is None or now.runner != runner or now.is_ending:
        return False
    if not _advance(db, fid, Status.QUEUED):
        return False
    db.execute("UPDATE executions SET runner = '' WHERE id = :id", {"id": now.id})
    return True


def settle(db: Connection, fid: str, status: Status, error: FailureEvent | None) -> bool:
    """End an execution from outside its runner."""
    now = state(db, fid)
    if now is None or now.status.is_final:
        return False
    end(db, now, status, lines(line.encode(Kind.ERROR, error)) if error else NONE)
    return True


def request_cancel(db: Connection, fid: str, grace_s: float) -> None:
    """Request the cancellation of an execution and of those that it launched.

    It ends at once if it has no runner.
    """
    now = state(db, fid)
    if now is not None and (now.status is Status.QUEUED or now.is_parked):
        end(db, now, Status.CANCELLED, NONE)
    db.touched.add(fid)
    db.execute(
        "UPDATE executions SET cancel_requested = coalesce(cancel_requested, :now),"
        " grace_s = :grace_s WHERE fid = :fid AND finished IS NULL",
        {"now": line.timestamp(), "grace_s": grace_s, "fid": fid},
    )
    _cancel_children(db, fid, grace_s)


def _cancel_children(db: Connection, fid: str, grace_s: float) -> None:
    """Cancel the executions that one launched. Those that have a runner end by it."""
    found = db.execute(
        "SELECT fid FROM executions WHERE parent = :fid AND finished IS NULL"
        " AND cancel_requested IS NULL ORDER BY id",
        {"fid": fid},
    )
    for (child,) in found.fetchall():
        _cancel_child(db, child, grace_s)


def _cancel_child(db: Connection, child: str, grace_s: float) -> None:
    request_cancel(db, child, grace_s)
    after = state(db, child)
    has_ended = after is not None and after.status.is_final
    ledger.tell(db, Topic.ENDED if has_ended else Topic.CANCELLED, child)


def cancel_given_up(db: Connection, fid: str, child: str) -> None:
    """Cancel an execution whose end its parent no longer waits for, because nobody gets its result.

    It goes on if somebody else may: another call waits for it, or its flow's author gave it a key.
    """
    found = db.execute(
        "SELECT 1 FROM executions WHERE fid = :child AND parent = :fid AND key LIKE 'child:%'"
        " AND finished IS NULL AND cancel_requested IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM steps WHERE child = :child AND status = 'waiting')",
        {"child": child, "fid": fid},
    )
    if found.fetchone() is not None:
        _cancel_child(db, child, _GRACE_S)


def request_cancels(db: Connection, service: str, grace_s: float) -> list[str]:
    """Request the cancellation of all of a service's executions; return those that runners have."""
    values = {"now": line.timestamp(), "grace_s": grace_s, "service": service}
    found = " UNION ALL ".join(
        f"SELECT id FROM {table} WHERE {where} AND service = :service"
        for table, where in _open_parts(db)
    )
    rows = db.execute(
        "UPDATE executions SET cancel_requested = coalesce(cancel_requested, :now),"
        f" grace_s = :grace_s WHERE id IN ({found}) RETURNING fid, status, parked",
        values,
    ).fetchall()
    db.touched.update(fid for fid, _, _ in rows)
    return [fid for fid, status, parked in rows if status != "queued" and not parked]


def end_waiting(db: Connection, service: str, most: int) -> list[str]:
    """End some of a service's cancelled executions that no runner has."""
    fids: list[str] = []
    for table, where in to_end_parts(db):
        found = db.execute(
            f"SELECT fid FROM {table} WHERE {where} AND service = :service ORDER BY id LIMIT :most",
            {"service": service, "most": most - len(fids)},
        )
        fids += [fid for (fid,) in found.fetchall()]
    for fid in fids:
        settle(db, fid, Status.CANCELLED, None)
    return fids


def count_open(db: Connection, service: str) -> dict[str, int]:
    """Return how many of a service's executions have not ended, by status."""
    # By release, too: an index has the parked ones in that order.
    parts = [
        f"SELECT status, count(*) AS number FROM {table} WHERE {where} AND service = :service"
        " GROUP BY release, status"
        for table, where in _open_parts(db)
    ]
    count = f"SELECT status, sum(number) FROM ({' UNION ALL '.join(parts)}) AS held GROUP BY status"
    return dict(db.execute(count, {"service": service}).fetchall())


def count_parked(db: Connection, service: str) -> int:
    """Return how many of a service's executions are parked."""
    executions = db.dialect.by_index("executions", "executions_parked")
    count = f"SELECT count(*) FROM {executions} WHERE parked = 1 AND service = :service"
    return int(db.execute(count, {"service": service}).fetchone()[0])


def is_in_use(db: Connection, releases: str) -> str:
    """Return the condition that executions of a release have not ended, for a table of releases."""
    *held, (parked, is_parked) = _open_parts(db)
    parts = [f"SELECT service, release FROM {table} WHERE {where}" for table, where in held]
    return (
        f"(({releases}.service, {releases}.number) IN ({' UNION '.join(parts)})"
        f" OR EXISTS (SELECT 1 FROM {parked} WHERE {is_parked}"
        f" AND executions.service = {releases}.service"
        f" AND executions.release = {releases}.number))"
    )


def held_parts(db: Connection) -> list[tuple[str, str]]:
    """Return tables and conditions for the executions that have not ended and are not parked."""
    by_status = db.dialect.by_index("executions", "executions_by_status")
    awaiting = db.dialect.by_index("executions", "executions_awaiting")
    return [
        (by_status, "status IN ('queued', 'starting', 'running')"),
        (awaiting, "status = 'awaiting' AND parked = 0"),
    ]


def _open_parts(db: Connection) -> list[tuple[str, str]]:
    """Return tables and conditions for the executions that have not ended.

    Those that are parked come from an index that has their service: there may be very many.
    """
    return [*held_parts(db), (db.dialect.by_index("executions", "executions_parked"), "parked = 1")]


def to_end_parts(db: Connection) -> list[tuple[str, str]]:
    """Return tables and conditions for the executions without a runner that were asked to end."""
    to_end = db.dialect.by_index("executions", "executions_to_end")
    return [
        ("executions", "status = 'queued' AND cancel_requested IS NOT NULL"),
        (to_end, "parked = 1 AND cancel_requested IS NOT NULL"),
    ]


def time_out(db: Connection, now_s: float) -> list[str]:
    """Mark overdue executions as timed out; return their fids."""
    rows = db.execute(
        "UPDATE executions SET timed_out = :now, deadline = NULL WHERE deadline <= :now_s"
        " RETURNING fid",
        {"now": line.timestamp(now_s), "now_s": now_s},
    )
    late = [fid for (fid,) in rows.fetchall()]
    db.touched.update(late)
    return late


def tries_again(now: State, *, because_of_error: bool = False) -> bool:
    """Whether another attempt follows a failed one. Never if the execution is to end."""
    policy = policy_of(now)
    if because_of_error and not policy.retry_errors:
        return False
    return now.tries <= policy.retries and not now.is_ending


def end(db: Connection, now: State, status: Status, events: Lines) -> None:
    """End an execution, after some more events.

    One that is cancelled because it passed its deadline ends with that error.
    """
    if status is Status.CANCELLED and now.is_timed_out and not now.is_cancelled:
        timeout_s = policy_of(now).timeout_s or 0
        text = f"it ran for longer than its limit, limits.timeout: {timeout_s:g} s"
        error = FailureEvent(type="TimedOut", message=text)
        status, events = Status.ERROR, events.then(lines(line.encode(Kind.ERROR, error)))
    add(db, now, events, status)


def retry(db: Connection, now: State, events: Lines, *, because_of_error: bool = False) -> None:
    """Queue an execution again after a failed attempt, with the events that the attempt left.

    Its recorded steps stay. If it ended with an error, the step that failed runs again, and
    whatever came after it.
    """
    policy, now_s = policy_of(now), time.time()
    not_before = now_s + policy.pause_s(now.tries)
    leases = withdraw_locks(db, now)
    queued = {
        "status": Status.QUEUED,
        "attempt": now.tries + 1,
        "not_before": line.timestamp(not_before),
    }
    if because_of_error and (failed := replay.forget_failed(db, now)):
        queued["from"] = failed
    ledger.insert(db, now, events.then(leases).then(lines(line.encode(Kind.STATUS, queued))))
    ledger.release(db, now, Status.QUEUED)
    db.execute(
        "UPDATE executions SET not_before = :not_before, left_s = :left_s,"
        " deaths = CASE WHEN :has_died = 1 THEN deaths ELSE 0 END WHERE id = :id",
        {
            "not_before": not_before,
            "left_s": policy.timeout_s,
            "has_died": not because_of_error,
            "id": now.id,
        },
    )


def add(db: Connection, now: State, events: Lines, status: Status | None = None) -> None:
    """Add events and, if given, the execution's next status with its event, in one row."""
    if status is None:
        ledger.insert(db, now, events)
        return
    if not status.is_final:
        ledger.move(db, now, events, status)
        if status is Status.RUNNING:
            outbox.note(db, now, status)
        return
    if now.cut_events:
        # It comes first, because an outcome must be the last event before the status.
        text = _WAS_CUT.format(now.cut_events, now.cut_bytes / MB)
        events = lines(line.encode(Kind.STDERR, text)).then(events)
    ledger.insert(db, now, events.then(lines(line.encode(Kind.STATUS, {"status": status}))))
    _finish(db, now, status, events)


def _advance(db: Connection, fid: str, status: Status, start: RunnerStart | None = None) -> bool:
    """Move an open execution to a status; False if it cannot reach that status from here."""
    now = state(db, fid)
    if now is None or not may_reach(now.status, status):
        return False
    ledger.move(db, now, NONE, status, start)
    return True


def _finish(db: Connection, now: State, status: Status, events: Lines) -> None:
    """Set a final status. The last of the events may be the outcome."""
    kind, finished = line.kind_of(events.last), line.timestamp()
    ended = usage.ended(db, now.id, finished)
    db.execute(
        "UPDATE executions SET status = :status, finished = :finished, outcome_seq = :outcome_seq,"
        " error = :error, deadline = NULL, parked = 0, used = :used WHERE id = :id",
        {
            "status": status,
            "finished": finished,
            "outcome_seq": now.last_seq + events.total if kind in OUTCOMES else None,
            "error": _brief(events.last) if kind == Kind.ERROR.encode() else None,
            "used": None if ended.used is None else to_json(ended.used),
            "id": now.id,
        },
    )
    usage.count(db, ended, status=status)
    outbox.note(db, now, status)
    # No producer may write from now on, so their positions are not needed.
    db.execute("DELETE FROM producers WHERE execution = :id", {"id": now.id})
    # One question for all, because most executions have nothing open.
    if db.execute(_HAS_OPEN, {"id": now.id, "fid": now.fid}).fetchone()[0]:
        withdraw_locks(db, now)
        for child in waits.withdraw_all(db, now):
            cancel_given_up(db, now.fid, child)
        waits.end_calls(db, now.fid, status, events.last if kind in OUTCOMES else None)
    if status is not Status.FINISHED:
        _cancel_children(db, now.fid, max(now.grace_s, _GRACE_S))


def has_open_lock(db: Connection, now: State) -> bool:
    """Whether an execution waits for a person."""
    look = "SELECT 1 FROM locks WHERE execution = :id AND status = 'open' LIMIT 1"
    return db.execute(look, {"id": now.id}).fetchone() is not None


def withdraw_locks(db: Connection, now: State, *, keep_placed: bool = False) -> Lines:
    """Withdraw an execution's open locks; return the events that say so.

    With `keep_placed`, those stay open that have a place in the flow's code: a replay finds them.
    """
    rows = db.execute(
        "UPDATE locks SET status = 'withdrawn', settled = :now"
        " WHERE execution = :id AND status = 'open' AND (key = '' OR :keep_placed = 0)"
        " RETURNING lid, name, key",
        {"now": line.timestamp(), "id": now.id, "keep_placed": keep_placed},
    ).fetchall()
    for _, _, key in rows:
        if key:
            waits.settle_lock(db, now, key, "withdrawn", None)
    leases = (
        line.encode(Kind.LEASE, {"lid": lid, "name": name, "outcome": "withdrawn"})
        for lid, name, _ in rows
    )
    return lines(*leases)


def _brief(event: bytes) -> str:
    """Return an error event's type and message, because lists have no room for a traceback."""
    payload = line.decode(1, event).get("payload")
    error = payload if isinstance(payload, dict) else {}
    brief = {key: str(error.get(key, "")) for key in ("type", "message")}
    return payload_to_json(brief)
