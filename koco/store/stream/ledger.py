"""What every change of an execution begins and ends with: its state is read, its events are added.

These functions run within a change. `koco.store.stream.lifecycle` decides what follows what.
"""

import time
from typing import NamedTuple

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import OPEN, Kind, Status
from koco.events.used import Used
from koco.store.engine.protocol import Connection
from koco.store.model import News, Policy, RunnerStart, Topic
from koco.store.sql.table import to_json

#: Executions that have not ended. Phrased for an index, because there may be a million that have.
IS_OPEN = f"status IN ({', '.join(repr(each.value) for each in OPEN)})"


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
    fid: str
    resumed: int
    is_parked: bool
    grace_s: float
    moves: int

    @property
    def tries(self) -> int:
        """The number of this attempt, from 1: to resume and to be parked is none."""
        return self.attempt - self.moves

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
        " timed_out IS NOT NULL, event_bytes, cut_events, cut_bytes, fid, resumed, parked, grace_s,"
        " moves"
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


def policy_of(now: State) -> Policy:
    """Return an execution's policy."""
    return msgspec.json.decode(now.policy, type=Policy) if now.policy else Policy()


def event(db: Connection, execution: int, seq: int) -> bytes | None:
    """Return an event, or None if it is not stored."""
    row = db.execute(
        "SELECT first, body FROM chunks WHERE execution = :id AND last >= :seq"
        " ORDER BY last LIMIT 1",
        {"id": execution, "seq": seq},
    ).fetchone()
    return None if row is None else dict(line.number_lines(*row))[seq]


def insert(db: Connection, now: State, events: Lines) -> None:
    """Add events to an execution."""
    db.touched.add(now.fid)
    last = now.last_seq + events.total
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (:id, :first, :last, :body)",
        {"id": now.id, "first": now.last_seq + 1, "last": last, "body": events.body},
    )
    db.execute(
        "UPDATE executions SET last_seq = :last, event_bytes = event_bytes + :bytes WHERE id = :id",
        {"last": last, "bytes": len(events.body), "id": now.id},
    )


def note_used(db: Connection, now: State, used: Used) -> None:
    """Keep what an execution has used, as its process says. Its events are what it has stored."""
    db.touched.add(now.fid)
    used = msgspec.structs.replace(used, stored_bytes=now.event_bytes)
    db.execute(
        "UPDATE executions SET used = :used WHERE id = :id", {"used": to_json(used), "id": now.id}
    )


def move(
    db: Connection, now: State, events: Lines, status: Status, start: RunnerStart | None = None
) -> None:
    """Move an execution to a status that is not final, after some events.

    The status's own event tells of the `start` of the runner that it waited for.
    """
    about = msgspec.structs.asdict(start) if start else {}
    insert(db, now, events.then(lines(line.encode(Kind.STATUS, {"status": status, **about}))))
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


def release(
    db: Connection, now: State, status: Status, *, moves: bool = False, parked: bool = False
) -> None:
    """Take an execution from its runner, which may no longer write to it from then on.

    `moves` means that its attempt goes on elsewhere. The time that it has left stays as it is.
    """
    db.touched.add(now.fid)
    db.execute(
        "UPDATE executions SET status = :status, parked = :parked, runner = '',"
        " attempt = attempt + 1, moves = moves + :moves,"
        " left_s = coalesce(deadline - :now_s, left_s), deadline = NULL WHERE id = :id",
        {
            "status": status,
            "parked": parked,
            "moves": moves,
            "now_s": time.time(),
            "id": now.id,
        },
    )


def tell(db: Connection, topic: Topic, fid: str = "", key: str = "") -> None:
    """Tell the control plane, once the change is committed."""
    db.news.append(News(topic, fid, key))
