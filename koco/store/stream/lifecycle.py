"""The steps of an execution's life: each is one change, with the events that record it.

These functions run within a change. An execution is `awaiting` exactly while it has an open lock.
"""

import time
from typing import NamedTuple

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import OPEN, Kind, Status
from koco.sizes import MB
from koco.store import usage
from koco.store.engine.protocol import Connection
from koco.store.model import FailureEvent, Policy
from koco.store.sql.table import payload_to_json

#: Executions that have not ended. Phrased for an index, because there may be a million that have.
IS_OPEN = f"status IN ({', '.join(repr(each.value) for each in OPEN)})"

#: The statuses from which a batch may move an execution to each status.
_REACHED_FROM = {
    Status.STARTING: {Status.QUEUED},
    Status.QUEUED: {Status.STARTING},
    # Batches do not lead to `awaiting` or back, because that depends on open locks.
    Status.RUNNING: {Status.STARTING},
    Status.AWAITING: set(),
}

#: Kinds of events with an execution's outcome.
OUTCOMES = {Kind.FINAL.encode(), Kind.ERROR.encode()}

#: The text before the end of a stream that was cut: see `koco.store.stream.events`.
_WAS_CUT = "koco: {:,} events of this execution, {:,.1f} MB, were not kept"


class State(NamedTuple):
    """The facts about an execution that decide its next steps."""

    id: int
    status: Status
    last_seq: int
    runner: str
    attempt: int
    policy: str | None
    is_cancelled: bool
    is_timed_out: bool
    event_bytes: int
    cut_events: int
    cut_bytes: int

    @property
    def is_ending(self) -> bool:
        """Whether its cancellation was requested or its deadline has passed."""
        return bool(self.is_cancelled or self.is_timed_out)


class Lines(NamedTuple):
    """Events in the form in which they are stored: lines of JSON, and their number."""

    body: bytes = b""
    total: int = 0

    @property
    def last(self) -> bytes:
        """The last event."""
        return self.body[self.body.rfind(b"\n") + 1 :]

    def then(self, other: "Lines") -> "Lines":
        """Return these events and then others."""
        if not (self.total and other.total):
            return self if self.total else other
        return Lines(b"\n".join((self.body, other.body)), self.total + other.total)


def lines(*events: bytes) -> Lines:
    """Return some events."""
    return Lines(b"\n".join(events), len(events))


#: No events.
NONE = Lines()


def state(db: Connection, fid: str) -> State | None:
    """Return an execution's state, or None if there is none."""
    row = db.execute(
        "SELECT id, status, last_seq, runner, attempt, policy, cancel_requested IS NOT NULL,"
        " timed_out IS NOT NULL, event_bytes, cut_events, cut_bytes"
        " FROM executions WHERE fid = :fid",
        {"fid": fid},
    ).fetchone()
    return State(row[0], Status(row[1]), *row[2:]) if row else None


def open_state(db: Connection, fid: str, *, refusal: str) -> State:
    """Return the state of an execution that has not ended. `refusal` is appended to the error.

    Raises:
        NotFoundError: there is no such execution.
        ConflictError: it has ended.
    """
    now = state(db, fid)
    if now is None:
        raise NotFoundError(f"no execution {fid}")
    if now.status.is_final:
        raise ConflictError(f"execution {fid} has ended ({now.status}){refusal}")
    return now


def may_reach(now: Status, status: Status) -> bool:
    """Whether an execution may go from one status to another."""
    return status.is_final or now in _REACHED_FROM[status]


def assign(db: Connection, fid: str, runner: str) -> bool:
    """Give a queued execution to a runner."""
    taken = db.execute(
        "UPDATE executions SET runner = :runner, not_before = NULL"
        " WHERE fid = :fid AND status = 'queued' AND cancel_requested IS NULL",
        {"fid": fid, "runner": runner},
    )
    return taken.rowcount > 0 and _advance(db, fid, Status.STARTING)


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


def lose(db: Connection, fid: str, runner: str, error: FailureEvent) -> bool:
    """End an execution whose runner died, or queue its next attempt."""
    now = state(db, fid)
    if now is None or now.status.is_final or now.runner != runner:
        return False
    event = lines(line.encode(Kind.ERROR, error))
    if now.is_ending:
        end(db, now, Status.CANCELLED, NONE)
    elif tries_again(now):
        retry(db, now, event)
    else:
        add(db, now, event, Status.ERROR)
    return True


def request_cancel(db: Connection, fid: str, grace_s: float) -> None:
    """Request the cancellation of an execution, and end it at once if it is queued."""
    now = state(db, fid)
    if now is not None and now.status is Status.QUEUED:
        end(db, now, Status.CANCELLED, NONE)
    db.execute(
        "UPDATE executions SET cancel_requested = coalesce(cancel_requested, :now),"
        " grace_s = :grace_s WHERE fid = :fid AND finished IS NULL",
        {"now": line.timestamp(), "grace_s": grace_s, "fid": fid},
    )


def request_cancels(db: Connection, service: str, grace_s: float) -> list[str]:
    """Request the cancellation of all of a service's executions; return those that runners have."""
    values = {"now": line.timestamp(), "grace_s": grace_s, "service": service}
    db.execute(
        "UPDATE executions SET cancel_requested = coalesce(cancel_requested, :now),"
        f" grace_s = :grace_s WHERE {IS_OPEN} AND service = :service",
        values,
    )
    found = db.execute(
        f"SELECT fid FROM executions WHERE {IS_OPEN} AND status <> 'queued' AND service = :service",
        values,
    )
    return [fid for (fid,) in found]


def end_waiting(db: Connection, service: str, most: int) -> list[str]:
    """End some of a service's queued, cancelled executions."""
    found = db.execute(
        "SELECT fid FROM executions WHERE status = 'queued' AND service = :service"
        " AND cancel_requested IS NOT NULL ORDER BY id LIMIT :most",
        {"service": service, "most": most},
    )
    fids = [fid for (fid,) in found.fetchall()]
    for fid in fids:
        settle(db, fid, Status.CANCELLED, None)
    return fids


def count_open(db: Connection, service: str) -> dict[str, int]:
    """Return how many of a service's executions have not ended, by status."""
    count = f"SELECT status, count(*) FROM executions WHERE {IS_OPEN} AND service = :service"
    return dict(db.execute(f"{count} GROUP BY status", {"service": service}).fetchall())


def time_out(db: Connection, now_s: float) -> list[str]:
    """Mark overdue executions as timed out; return their fids."""
    rows = db.execute(
        "UPDATE executions SET timed_out = :now, deadline = NULL WHERE deadline <= :now_s"
        " RETURNING fid",
        {"now": line.timestamp(now_s), "now_s": now_s},
    )
    return [fid for (fid,) in rows.fetchall()]


def tries_again(now: State, *, because_of_error: bool = False) -> bool:
    """Whether another attempt follows a failed one. Never if the execution is to end."""
    policy = _policy(now)
    if because_of_error and not policy.retry_errors:
        return False
    return now.attempt <= policy.retries and not now.is_ending


def end(db: Connection, now: State, status: Status, events: Lines) -> None:
    """End an execution, after some more events.

    One that is cancelled because it passed its deadline ends with that error.
    """
    if status is Status.CANCELLED and now.is_timed_out and not now.is_cancelled:
        timeout_s = _policy(now).timeout_s or 0
        text = f"it ran for longer than its limit, limits.timeout: {timeout_s:g} s"
        error = FailureEvent(type="TimedOut", message=text)
        status, events = Status.ERROR, events.then(lines(line.encode(Kind.ERROR, error)))
    add(db, now, events, status)


def retry(db: Connection, now: State, events: Lines) -> None:
    """Queue an execution again after a failed attempt, with the events that the attempt left.

    The execution has no runner then, so its previous runner cannot write to it.
    """
    policy, now_s = _policy(now), time.time()
    not_before = now_s + policy.pause_s(now.attempt)
    open_locks = db.execute(
        "SELECT lid, name FROM locks WHERE execution = :id AND status = 'open'", {"id": now.id}
    )
    leases = [
        line.encode(Kind.LEASE, {"lid": lid, "name": name, "outcome": "withdrawn"})
        for lid, name in open_locks
    ]
    _withdraw_locks(db, now)
    queued = {
        "status": Status.QUEUED,
        "attempt": now.attempt + 1,
        "not_before": line.timestamp(not_before),
    }
    add(db, now, events.then(lines(*leases, line.encode(Kind.STATUS, queued))))
    db.execute(
        "UPDATE executions SET status = 'queued', runner = '', attempt = attempt + 1,"
        " not_before = :not_before, deadline = NULL, left_s = :left_s WHERE id = :id",
        {"not_before": not_before, "left_s": policy.timeout_s, "id": now.id},
    )


def add(db: Connection, now: State, events: Lines, status: Status | None = None) -> None:
    """Add events and, if given, the execution's next status with its event, in one row."""
    if status is None:
        _insert(db, now, events)
        return
    if status.is_final and now.cut_events:
        # It comes first, because an outcome must be the last event before the status.
        text = _WAS_CUT.format(now.cut_events, now.cut_bytes / MB)
        events = lines(line.encode(Kind.STDERR, text)).then(events)
    _insert(db, now, events.then(lines(line.encode(Kind.STATUS, {"status": status}))))
    if status.is_final:
        _finish(db, now, status, events)
        return
    now_s = time.time()
    is_running = status is Status.RUNNING
    # The deadline only runs while the execution runs, not while it awaits a person.
    db.execute(
        "UPDATE executions SET status = :status, started = coalesce(started, :started),"
        " left_s = coalesce(deadline - :now_s, left_s),"
        " deadline = :runs_s + coalesce(deadline - :now_s, left_s) WHERE id = :id",
        {
            "status": status,
            "started": line.timestamp(now_s) if is_running else None,
            "runs_s": now_s if is_running else None,
            "now_s": now_s,
            "id": now.id,
        },
    )


def _advance(db: Connection, fid: str, status: Status) -> bool:
    """Move an execution to a status; False if it cannot reach that status from here."""
    now = state(db, fid)
    if now is None or not may_reach(now.status, status):
        return False
    add(db, now, NONE, status)
    return True


def _finish(db: Connection, now: State, status: Status, events: Lines) -> None:
    """Set a final status. The last of the events may be the outcome."""
    kind, finished = line.kind_of(events.last), line.timestamp()
    ended = db.execute(
        "UPDATE executions SET status = :status, finished = :finished, outcome_seq = :outcome_seq,"
        f" error = :error, deadline = NULL WHERE id = :id RETURNING {usage.COUNTED}",
        {
            "status": status,
            "finished": finished,
            "outcome_seq": now.last_seq + events.total if kind in OUTCOMES else None,
            "error": _brief(events.last) if kind == Kind.ERROR.encode() else None,
            "id": now.id,
        },
    )
    for row in ended.fetchall():
        usage.count(db, now.id, usage.Ended(*row), status=status, finished=finished)
    _withdraw_locks(db, now)
    # No producer may write from now on, so their positions are not needed.
    db.execute("DELETE FROM producers WHERE execution = :id", {"id": now.id})


def _insert(db: Connection, now: State, events: Lines) -> None:
    last = now.last_seq + events.total
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (:id, :first, :last, :body)",
        {"id": now.id, "first": now.last_seq + 1, "last": last, "body": events.body},
    )
    db.execute(
        "UPDATE executions SET last_seq = :last, event_bytes = event_bytes + :bytes WHERE id = :id",
        {"last": last, "bytes": len(events.body), "id": now.id},
    )


def _withdraw_locks(db: Connection, now: State) -> None:
    db.execute(
        "UPDATE locks SET status = 'withdrawn', settled = :now"
        " WHERE execution = :id AND status = 'open'",
        {"now": line.timestamp(), "id": now.id},
    )


def _policy(now: State) -> Policy:
    return msgspec.json.decode(now.policy, type=Policy) if now.policy else Policy()


def _brief(event: bytes) -> str:
    """Return an error event's type and message, because lists have no room for a traceback."""
    payload = line.decode(1, event).get("payload")
    error = payload if isinstance(payload, dict) else {}
    brief = {key: str(error.get(key, "")) for key in ("type", "message")}
    return payload_to_json(brief)
