"""Recorded steps, waits and messages of executions.

Steps come with the events of their executions: see `koco.store.stream.events`. Whatever ends a
wait tells it by `Store.listen`.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from koco.errors import ConflictError, LimitError, NotFoundError
from koco.events import line
from koco.events.model import Status
from koco.events.questions import WaitOutcome
from koco.events.steps import Past, StepKind, StepStatus
from koco.plurals import counted
from koco.sizes import MB, format_size
from koco.store import past
from koco.store.engine.protocol import Connection
from koco.store.model import ExportedStep, Message, NewWait, Outline, Page, Step, StepResult
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.table import insertion, payload_to_json
from koco.store.stream import ledger, lifecycle, waits
from koco.store.stream.ledger import State
from koco.store.stream.waits import MESSAGES, STEPS, Outcome

#: How many waits end in one change.
_PIECE = 100
#: How many messages an execution may have that it has not received, and their size (bytes).
_MOST_UNREAD, _MOST_UNREAD_BYTES = 10_000, 64 * MB
#: One step.
_THIS = "WHERE execution = :execution AND key = :key"
_SEND = insertion(
    "messages", ("execution", "name", "data", "moments", "created", "by", "key", "size_bytes")
)

_decode_outcome = msgspec.json.Decoder(WaitOutcome).decode


class Steps(Repository):
    """Steps and waits by execution (its id) and key."""

    async def past(self, execution: int, *, marks: bool) -> Past:
        """Return what a runner needs to replay an execution; with the `marks` of its events.

        Large results are left out: `result` has them.
        """
        return await self._scan(lambda db: past.read(db, execution, marks=marks), apart=True)

    async def outline(self, execution: int) -> Outline:
        """Return the inputs and the records of an execution, unmasked, without its steps."""
        return await self._scan(lambda db: past.outline(db, execution))

    async def exported(self, rows: Sequence[int]) -> list[ExportedStep]:
        """Return some steps of an `Outline` with their outcomes. Those in blobs are left out."""
        return await self._scan(lambda db: past.exported(db, rows))

    async def page_of(
        self,
        execution: int,
        *,
        statuses: Sequence[str] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Step]:
        """Return a page of an execution's steps, in the order of their calls.

        With `statuses`, only those that have one of them.
        """
        return await self._scan(lambda db: _page(db, execution, statuses, limit, cursor))

    async def waiting(self, execution: int) -> list[Step]:
        """Return the open waits of an execution, a thousand at most."""
        where = (
            "WHERE execution = :execution AND status = 'waiting' ORDER BY position, id LIMIT 1000"
        )
        return await self._read(lambda db: STEPS.select(db, where, execution=execution))

    async def get(self, execution: int, key: str) -> Step:
        """Return a step.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._read(lambda db: _get(db, execution, key))

    async def result(self, execution: int, key: str) -> StepResult:
        """Return the outcome of a step or wait.

        Raises:
            NotFoundError: there is no such step.
        """

        def look(db: Connection) -> StepResult:
            step = _get(db, execution, key)
            return StepResult(_result(db, step), step.blob)

        return await self._read(look)

    async def outcome(self, execution: int, key: str) -> WaitOutcome | None:
        """Return the outcome of a wait, or None if it is still open.

        Raises:
            NotFoundError: there is no such wait.
        """

        def look(db: Connection) -> WaitOutcome | None:
            step = _get(db, execution, key)
            if step.status is StepStatus.WITHDRAWN:
                return WaitOutcome(status=step.status)
            result = _result(db, step)
            return None if result is None else _decode_outcome(result)

        return await self._read(look)

    async def open_wait(self, fid: str, new: NewWait) -> Step:
        """Commit an open wait with its event, and return it. It may be over at once.

        A repeated call returns the wait as it is. A wait that was withdrawn in an earlier attempt
        is opened again.

        Raises:
            ConflictError: the execution has ended, or a different step has the key.
            NotFoundError: there is no such execution.
        """

        def change(db: Connection) -> Step:
            now = ledger.open_state(db, fid, refusal=" and waits for nothing")
            known = STEPS.first(db, _THIS, execution=now.id, key=new.key)
            if known is not None:
                _require_same(known, new)
            is_withdrawn = known is not None and known.status is StepStatus.WITHDRAWN
            if known is None or (is_withdrawn and known.attempt < now.attempt):
                waits.open_one(db, now, new)
                # What a flow gave up before, it gives up again: it must not get the error of the
                # execution that was cancelled because of that.
                if known is None or not _was_cancelled(db, new.child):
                    _settle_at_once(db, now, new)
            return _get(db, now.id, new.key)

        return await self._add(change)

    async def expire(self, now_s: float) -> list[Step]:
        """End waits that are due by a time (seconds since the epoch); return them.

        Sleeps finish, and waits for messages expire. Locks expire elsewhere. There may be more:
        `next_due` says so.
        """

        def change(db: Connection) -> list[Step]:
            rows = db.execute(
                "SELECT e.fid, s.id FROM steps s JOIN executions e ON e.id = s.execution"
                " WHERE s.status = 'waiting' AND s.due <= :now_s AND s.kind <> 'lock'"
                " ORDER BY s.due LIMIT :most",
                {"now_s": now_s, "most": _PIECE},
            )
            due = [(fid, _by_id(db, number)) for fid, number in rows.fetchall()]
            for fid, step in due:
                waits.settle(db, fid, step.key, _at_its_time(step))
            return [_by_id(db, step.id) for _, step in due]

        return await self._write(change)

    async def next_due(self) -> float | None:
        """Return when the next wait is over (seconds since the epoch), or None."""
        look = (
            "SELECT min(due) FROM steps"
            " WHERE status = 'waiting' AND due IS NOT NULL AND kind <> 'lock'"
        )
        row: tuple[float | None] = await self._read(lambda db: db.execute(look).fetchone())
        return row[0]

    async def withdraw(self, fid: str, key: str) -> Step:
        """End a wait because its flow has given it up; return it.

        A message that it had received, but not yet its flow, is given to the next one. An execution
        that it was for is cancelled, unless somebody else may get its result.

        Raises:
            NotFoundError: there is no such execution or wait.
        """

        def change(db: Connection) -> Step:
            now = ledger.state(db, fid)
            if now is None:
                raise NotFoundError(f"no execution {fid}")
            step = _get(db, now.id, key)
            if not now.status.is_final:
                waits.withdraw(db, now, step)
                if step.child is not None and step.status is StepStatus.WAITING:
                    lifecycle.cancel_given_up(db, fid, step.child)
            return _get(db, now.id, key)

        return await self._write(change)

    async def send(
        self,
        fid: str,
        name: str,
        data: Any,
        *,
        moments: list[Any] | None = None,
        by: str,
        key: str | None = None,
    ) -> Message:
        """Commit a message to an execution, and give it to the wait for it, if there is one.

        A repeated call with the same idempotency key returns the message as it is.

        Raises:
            ConflictError: the execution has ended, or another message was sent with this key.
            LimitError: it has too many messages that it has not received.
            NotFoundError: there is no such execution.
        """

        def change(db: Connection) -> Message:
            if key and (sent := _sent(db, fid, by, key)):
                _require_equal(sent, name, data, key)
                return sent
            now = ledger.open_state(db, fid, refusal=" and takes no more messages")
            text = payload_to_json(data)
            size_bytes = len(text.encode())
            _require_few(db, now, size_bytes)
            row = {
                "execution": now.id,
                "name": name,
                "data": text,
                "size_bytes": size_bytes,
                "moments": payload_to_json(moments) if moments else None,
                "created": line.timestamp(),
                "by": by,
                "key": key,
            }
            [(number,)] = db.execute(f"{_SEND} RETURNING id", row).fetchall()
            waits.hand_over(db, fid, now.id, name)
            [message] = MESSAGES.select(db, "WHERE id = :number", number=number)
            return message

        return await self._add(change)


def _get(db: Connection, execution: int, key: str) -> Step:
    step = STEPS.first(db, _THIS, execution=execution, key=key)
    if step is None:
        raise NotFoundError(f"there is no step {key!r}", hint="`koco steps FID` lists them")
    return step


def _by_id(db: Connection, number: int) -> Step:
    [step] = STEPS.select(db, "WHERE id = :number", number=number)
    return step


def _result(db: Connection, step: Step) -> bytes | None:
    result: bytes | None
    [(result,)] = db.execute("SELECT result FROM steps WHERE id = :id", {"id": step.id}).fetchall()
    return result


def _page(
    db: Connection, execution: int, statuses: Sequence[str], limit: int, cursor: str | None
) -> Page[Step]:
    wanted = "WHERE execution = :execution"
    values: dict[str, Any] = {"execution": execution}
    if statuses:
        values |= {f"status{number}": each for number, each in enumerate(statuses)}
        names = ", ".join(f":status{number}" for number in range(len(statuses)))
        wanted += f" AND status IN ({names})"
    if cursor is not None:
        after, number = pages.pair(cursor)
        wanted += " AND (position, id) > (:after, :number)"
        values |= {"after": pages.number(after), "number": pages.number(number)}
    clause = f"{wanted} ORDER BY position, id"
    return STEPS.page(db, limit, lambda step: f"{step.position}~{step.id}", clause, **values)


def _require_same(known: Step, new: NewWait) -> None:
    if (known.kind, known.name, known.digest) != (new.kind, new.name, new.digest):
        raise ConflictError(
            f"the step {new.key!r} was recorded as {known.kind} {known.name}({known.arguments}),"
            f" and is now {new.kind} {new.name}({new.arguments})",
            hint="a flow that is resumed must take the same steps again",
        )


def _was_cancelled(db: Connection, child: str | None) -> bool:
    state = None if child is None else ledger.state(db, child)
    return state is not None and state.status is Status.CANCELLED


def _settle_at_once(db: Connection, now: State, new: NewWait) -> None:
    """End a new wait if it is over already."""
    if new.failure is not None:
        error = msgspec.json.encode(new.failure)
        outcome = Outcome(StepStatus.ERROR, "nothing was launched", error=error)
        waits.settle(db, now.fid, new.key, outcome)
        return
    if new.message is not None:
        waits.hand_over(db, now.fid, now.id, new.message)
    if new.kind is StepKind.LAUNCH:
        because = f"the execution {new.child} was launched"
        outcome = Outcome(StepStatus.FINISHED, because, child=new.child or "")
        waits.settle(db, now.fid, new.key, outcome)
    elif new.child is not None:
        waits.end_call(db, new.child)
    elif new.due is not None and new.due <= time.time():
        waits.settle(db, now.fid, new.key, _at_its_time(_get(db, now.id, new.key)))


def _at_its_time(step: Step) -> Outcome:
    if step.kind is StepKind.RECEIVE:
        return Outcome(StepStatus.EXPIRED, f"no message {step.message!r} arrived in time")
    return Outcome(StepStatus.FINISHED, f"the time of {step.key} has come")


def _sent(db: Connection, fid: str, by: str, key: str) -> Message | None:
    """Return the message that somebody has sent with an idempotency key, if there is one."""
    execution = "(SELECT id FROM executions WHERE fid = :fid)"
    where = f"WHERE execution = {execution} AND by = :by AND key = :key"
    return MESSAGES.first(db, where, fid=fid, by=by, key=key)


def _require_equal(sent: Message, name: str, data: Any, key: str) -> None:
    if sent.name != name or payload_to_json(sent.data) != payload_to_json(data):
        raise ConflictError(
            f"the idempotency key {key[:80]!r} was used for another message",
            hint="use a new key for each new message",
        )


def _require_few(db: Connection, now: State, size_bytes: int) -> None:
    """Refuse a message of a size if too much is unread. A single one may have any size."""
    [(unread, unread_bytes)] = db.execute(
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM messages"
        " WHERE execution = :id AND taken IS NULL",
        {"id": now.id},
    ).fetchall()
    hint = "its flow takes them with `tracer.receive`; send this one again when it has"
    if unread >= _MOST_UNREAD:
        raise LimitError(
            f"execution {now.fid} has {counted(unread, 'message')} that it has not received",
            hint=hint,
        )
    if unread and unread_bytes + size_bytes > _MOST_UNREAD_BYTES:
        raise LimitError(
            f"execution {now.fid} has {format_size(unread_bytes)} of messages that it has not"
            f" received; with this one it would have more than {format_size(_MOST_UNREAD_BYTES)}",
            hint=hint,
        )
