"""Waits that are over, and what that means for their executions: a parked one runs again.

These functions run within a change.
"""

import time
from typing import Any, NamedTuple

import msgspec

from koco.events import line, steps
from koco.events.model import Kind, Status
from koco.events.steps import StepKind, StepStatus
from koco.store.engine.protocol import Connection
from koco.store.model import Message, NewWait, Step, Topic
from koco.store.sql.table import Table, payload_to_json, replacement
from koco.store.stream import ledger
from koco.store.stream.ledger import Lines, State

STEPS = Table("steps", Step)
MESSAGES = Table("messages", Message, payloads=("data", "moments"))

_FINAL = ", ".join(repr(each.value) for each in StepStatus if each.is_final)
#: The steps of an execution whose outcome is recorded.
IS_RECORDED = f"execution = :id AND status IN ({_FINAL}) AND status <> 'withdrawn'"
_OPENED = (
    *("execution", "key", "name", "kind", "position", "digest", "status", "attempt", "started"),
    *("arguments", "due", "child", "message"),
)
#: What a wait keeps that is opened again.
_KEPT = ("name", "kind", "position", "digest", "arguments", "message")
_OPEN = (
    f"{replacement('steps', _OPENED, key=('execution', 'key'), kept=_KEPT)}, result = NULL,"
    " preview = '', duration_s = NULL"
)
#: The statuses of a settled lock, as those of a step.
_OF_LOCK = {
    "answered": StepStatus.FINISHED,
    "expired": StepStatus.EXPIRED,
    "withdrawn": StepStatus.WITHDRAWN,
}
#: How much of an outcome is shown (characters).
_PREVIEW = 200


class Outcome(NamedTuple):
    """The end of a wait: see `koco.events.questions.WaitOutcome`. The rest of it is JSON.

    `because` says why a parked execution runs again.
    """

    status: StepStatus
    because: str
    value: bytes = b"null"
    moments: bytes = b"[]"
    error: bytes | None = None
    #: The fid of the execution that was launched.
    child: str = ""


def open_one(db: Connection, now: State, new: NewWait) -> None:
    """Open a wait with its event, or open it again after it was withdrawn."""
    _put(db, now, new)
    if new.failure is not None:
        return  # it waits for nothing: the event of its error follows
    until = line.timestamp_if_any(new.due) or ""
    status = StepStatus.WAITING
    event = steps.describe(new.key, new.kind, status, until=until, fid=new.child or "")
    ledger.insert(db, now, ledger.lines(line.encode(Kind.STEP, event)))


def _put(db: Connection, now: State, new: NewWait) -> None:
    row = msgspec.structs.asdict(new)
    row |= {"execution": now.id, "status": StepStatus.WAITING, "started": time.time()}
    db.execute(_OPEN, {**row, "attempt": now.attempt})


def open_lock(db: Connection, now: State, lock: NewWait) -> None:
    """List a lock among the steps of its execution. Its events are those of the lock."""
    _put(db, now, lock)


def settle_lock(db: Connection, now: State, key: str, status: str, answer: Any) -> None:
    """Settle a lock in the list of steps; `answer` is what people may see of it."""
    preview = "" if answer is None else _shortened(payload_to_json(answer))
    _end(db, now, key, _OF_LOCK[status], preview)


def settle(db: Connection, fid: str, key: str, outcome: Outcome) -> None:
    """End an open wait, with its event."""
    now = ledger.state(db, fid)
    if now is None:
        return
    preview = _preview(outcome)
    ended = _end(db, now, key, outcome.status, preview, result=_result(outcome))
    if ended is None:
        return
    kind, duration_s = ended
    is_error = outcome.error is not None
    event = steps.describe(
        key,
        kind,
        outcome.status,
        duration_s=duration_s,
        fid=outcome.child,
        preview="" if is_error else preview,
        error=preview if is_error else "",
    )
    resolve(db, now, ledger.lines(line.encode(Kind.STEP, event)), because=outcome.because)
    ledger.tell(db, Topic.SETTLED, fid, key)


def _end(
    db: Connection,
    now: State,
    key: str,
    status: StepStatus,
    preview: str,
    *,
    result: bytes | None = None,
) -> tuple[StepKind, float] | None:
    """End an open wait; return its kind and how long it lasted (seconds), or None if none is open.

    The outcome of a lock is kept with the lock, so the wait for it has no result.
    """
    row = db.execute(
        "UPDATE steps SET status = :status, preview = :preview, result = :result,"
        " size_bytes = :size_bytes,"
        " duration_s = CASE WHEN :now_s > started THEN :now_s - started ELSE 0.0 END"
        " WHERE execution = :id AND key = :key AND status = 'waiting' RETURNING kind, duration_s",
        {
            "status": status,
            "preview": preview,
            "result": result,
            "size_bytes": len(result or b""),
            "now_s": time.time(),
            "id": now.id,
            "key": key,
        },
    ).fetchone()
    return None if row is None else (StepKind(row[0]), row[1])


def resolve(db: Connection, now: State, events: Lines, *, because: str) -> None:
    """Add the events of a wait that is over. If its execution is parked, it runs again."""
    if not now.is_parked:
        ledger.insert(db, now, events)
        return
    event = resumption(db, now, because=because)
    ledger.insert(db, now, events.then(ledger.lines(event)))
    db.execute(
        "UPDATE executions SET status = 'queued', parked = 0, resumed = resumed + 1, deaths = 0"
        " WHERE id = :id",
        {"id": now.id},
    )
    ledger.tell(db, Topic.WOKEN, now.fid)


def resumption(db: Connection, now: State, *, because: str) -> bytes:
    """Return the event that says that an execution is queued to resume."""
    found = db.execute(
        f"SELECT key FROM steps WHERE {IS_RECORDED} ORDER BY position DESC LIMIT 1", {"id": now.id}
    ).fetchone()
    after = found[0] if found else None
    event = {"status": Status.QUEUED, "resumed": now.resumed + 1, "after": after}
    return line.encode(Kind.STATUS, {**event, "because": because})


def hand_over(db: Connection, fid: str, execution: int, name: str) -> None:
    """Give the messages of a name to those who wait for one, the oldest first."""
    waiting = (
        "SELECT key FROM steps WHERE execution = :id AND status = 'waiting' AND message = :name"
        " ORDER BY id LIMIT 1"
    )
    unread = "WHERE execution = :id AND taken IS NULL AND name = :name ORDER BY id"
    values: dict[str, Any] = {"id": execution, "name": name}
    while (row := db.execute(waiting, values).fetchone()) is not None:
        message = MESSAGES.first(db, unread, **values)
        if message is None:
            return
        MESSAGES.update(db, "WHERE id = :message", {"taken": row[0]}, message=message.id)
        value, moments = payload_to_json(message.data), payload_to_json(message.moments)
        outcome = Outcome(
            StepStatus.FINISHED,
            f"the message {name!r} arrived",
            value.encode(),
            moments.encode(),
        )
        settle(db, fid, row[0], outcome)


def end_calls(db: Connection, child: str, status: Status, outcome: bytes | None) -> None:
    """End the waits for an execution that has ended. `outcome` is the event with its outcome.

    Those of an execution that is being cancelled stay open if its child was cancelled with it: it
    would end with the child's error before its runner has cancelled it.
    """
    waiting = db.execute(
        "SELECT e.fid, s.key FROM steps s JOIN executions e ON e.id = s.execution"
        " WHERE s.child = :child AND s.status = 'waiting'"
        " AND (:status <> 'cancelled' OR e.cancel_requested IS NULL) ORDER BY s.id",
        {"child": child, "status": status},
    ).fetchall()
    if not waiting:
        return
    payload = b"null" if outcome is None else line.payload_of(outcome)
    because = f"the execution {child} has ended: {status}"
    if status is Status.FINISHED:
        end = Outcome(StepStatus.FINISHED, because, payload, child=child)
    else:
        error = _error(child, status, outcome)
        end = Outcome(StepStatus.ERROR, because, error=error, child=child)
    for fid, key in waiting:
        settle(db, fid, key, end)


def end_call(db: Connection, child: str) -> None:
    """End the waits for an execution if it has ended already."""
    now = ledger.state(db, child)
    if now is None or not now.status.is_final:
        return
    look = "SELECT outcome_seq FROM executions WHERE id = :id"
    [(seq,)] = db.execute(look, {"id": now.id}).fetchall()
    outcome = None if seq is None else ledger.event(db, now.id, seq)
    end_calls(db, child, now.status, outcome)


def withdraw(db: Connection, now: State, step: Step) -> None:
    """Withdraw a wait that its flow has given up, with its event.

    It may have received a message meanwhile, which its flow has not seen. That is for the next.
    """
    is_unseen = step.kind is StepKind.RECEIVE and step.status is StepStatus.FINISHED
    if not (is_unseen or step.status is StepStatus.WAITING):
        return
    STEPS.update(
        db,
        "WHERE id = :step",
        {"status": StepStatus.WITHDRAWN, "preview": "", "result": None, "attempt": now.attempt},
        step=step.id,
    )
    event = steps.describe(step.key, step.kind, StepStatus.WITHDRAWN, fid=step.child or "")
    resolve(db, now, ledger.lines(line.encode(Kind.STEP, event)), because="a wait was withdrawn")
    ledger.tell(db, Topic.SETTLED, now.fid, step.key)
    if is_unseen and step.message is not None:
        given = "WHERE execution = :id AND taken = :key"
        MESSAGES.update(db, given, {"taken": None}, id=now.id, key=step.key)
        hand_over(db, now.fid, now.id, step.message)


def _error(child: str, status: Status, outcome: bytes | None) -> bytes:
    if outcome is not None and line.kind_of(outcome) == Kind.ERROR.encode():
        return line.payload_of(outcome)
    text = f"the execution {child} has ended: {status}"
    return msgspec.json.encode({"type": status.value.capitalize(), "message": text})


def withdraw_all(db: Connection, now: State) -> list[str]:
    """Withdraw the open waits of an execution that ends; return the executions waited for."""
    rows = db.execute(
        "UPDATE steps SET status = 'withdrawn' WHERE execution = :id AND status = 'waiting'"
        " RETURNING child",
        {"id": now.id},
    )
    return [child for (child,) in rows.fetchall() if child is not None]


def _result(outcome: Outcome) -> bytes:
    # The value is copied as it is, because it may be large.
    fields = {
        "status": outcome.status,
        "value": msgspec.Raw(outcome.value),
        "moments": msgspec.Raw(outcome.moments),
        "error": msgspec.Raw(outcome.error or b"null"),
        "fid": outcome.child,
    }
    return msgspec.json.encode(fields)


def _preview(outcome: Outcome) -> str:
    if outcome.error is not None:
        error = msgspec.json.decode(outcome.error)
        text = f"{error.get('type')}: {error.get('message')}"
    elif outcome.value == b"null":
        return ""
    else:
        text = outcome.value[: 4 * _PREVIEW].decode("utf-8", "ignore")
    return _shortened(text)


def _shortened(text: str) -> str:
    return text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 1]}…"
