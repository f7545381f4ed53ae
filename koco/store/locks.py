"""Locks: executions' pauses for a person.

Each change is one transaction with its events and the execution's status.
"""

import math
from typing import Any

from koco.errors import NotFoundError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.steps import StepKind
from koco.store.engine.protocol import Connection
from koco.store.model import EVERYTHING, Answer, Lock, NewWait, Page, Sight, masked
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions
from koco.store.sql.table import Table, payload_to_json, replacement
from koco.store.stream import events, ledger, lifecycle, outbox, waits

_LOCKS = Table(
    "locks",
    Lock,
    payloads=("data", "answer", "moments", "hidden"),
    selection="l.lid, e.fid, e.flow, e.service, e.release, l.name, l.data, l.status, l.created,"
    " l.expires, l.answer, l.moments, l.hidden, l.settled, l.by, l.key, l.attempt",
    source="locks l JOIN executions e ON e.id = l.execution",
)
_OPENED = ("lid", "execution", "name", "data", "status", "created", "expires", "key", "attempt")
_PUT = (
    f"{replacement('locks', _OPENED, key=('lid',))}, answer = NULL, moments = NULL, hidden = NULL,"
    " settled = NULL, by = NULL"
)


class Locks(Repository):
    """Locks by id."""

    async def open(
        self,
        fid: str,
        lid: str,
        *,
        name: str,
        data: Any,
        expires: float,
        key: str = "",
        position: int = 0,
        arguments: str = "",
        most_bytes: float = math.inf,
    ) -> Lock:
        """Commit an open lock with its event. The execution is `awaiting` from then on.

        `expires` is in seconds since the epoch, `key` is the lock's place in its flow's code: with
        one, it is a step, too, which has this `position` and these `arguments`. A repeated call
        returns the lock as it is. A lock that was withdrawn in an earlier attempt is opened again.

        Raises:
            ConflictError: the execution has ended.
            LimitError: it has `most_bytes` of events.
            NotFoundError: there is no such execution.
        """

        def change(db: Connection) -> Lock:
            known = _LOCKS.first(db, "WHERE l.lid = :lid AND e.fid = :fid", lid=lid, fid=fid)
            if known is not None and known.status != "withdrawn":
                return _asked_again(db, known)
            now = ledger.open_state(db, fid, refusal=", so it cannot ask anybody")
            if known is not None and known.attempt == now.attempt:
                return known
            events.require_room(now, most_bytes)
            row = {"lid": lid, "execution": now.id, "name": name, "data": payload_to_json(data)}
            times = {"created": line.timestamp(), "expires": expires}
            place = {"key": key, "attempt": now.attempt}
            db.execute(_PUT, {**row, **times, **place, "status": "open"})
            if key:
                step = NewWait(
                    key=key,
                    name=f"lock.{name}",
                    kind=StepKind.LOCK,
                    position=position,
                    digest="",
                    arguments=arguments,
                    due=expires,
                )
                waits.open_lock(db, now, step)
            event = {"lid": lid, "name": name, "data": data, "expires": line.timestamp(expires)}
            status = Status.AWAITING if now.status is Status.RUNNING else None
            lifecycle.add(db, now, ledger.lines(line.encode(Kind.LOCK, event)), status)
            outbox.note(db, now, Status.AWAITING, lid=lid)
            return _get(db, lid)

        return await self._add(change)

    async def answer(self, lid: str, answer: Answer, *, by: str) -> Lock:
        """Settle an open lock with an answer. The execution resumes if it has no other open lock.

        Raises:
            ConflictError: it is no longer open. The message says who answered and when.
            NotFoundError: there is no such lock.
        """

        def change(db: Connection) -> Lock:
            lock = _get(db, lid)
            lock.require_open()
            _settle(db, lock, "answered", answer=answer, by=by)
            return _get(db, lid)

        return await self._add(change)

    async def expire(self, now_s: float) -> list[Lock]:
        """Settle the open locks that expire by a time (seconds since the epoch); return them."""

        def change(db: Connection) -> list[Lock]:
            late = "WHERE l.status = 'open' AND l.expires <= :now_s ORDER BY l.expires"
            locks = _LOCKS.select(db, late, now_s=now_s)
            for lock in locks:
                _settle(db, lock, "expired")
            return [_get(db, lock.lid) for lock in locks]

        return await self._write(change)

    async def withdraw(self, lid: str) -> Lock:
        """Settle a lock because its flow stopped waiting for it; return its final state.

        Raises:
            NotFoundError: there is no such lock.
        """

        def change(db: Connection) -> Lock:
            lock = _get(db, lid)
            if lock.status == "open":
                _settle(db, lock, "withdrawn")
            return _get(db, lid)

        return await self._write(change)

    async def get(self, lid: str) -> Lock:
        """Return a lock.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._read(lambda db: _get(db, lid))

    async def all_of(self, execution: int) -> list[Lock]:
        """Return an execution's locks, oldest first."""
        where = "WHERE l.execution = :execution ORDER BY l.created, l.lid"
        return await self._read(lambda db: _LOCKS.select(db, where, execution=execution))

    async def page_of(
        self, execution: int, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Lock]:
        """Return a page of an execution's locks, oldest first. A cursor stays valid meanwhile."""
        wanted, values = ["l.execution = :execution"], {"execution": execution}
        return await self._read(lambda db: _page(db, wanted, values, limit, cursor))

    async def page(
        self,
        *,
        status: str = "open",
        flow: str | None = None,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Lock]:
        """Return locks of all executions, oldest first. A cursor stays valid meanwhile."""

        def look(db: Connection) -> Page[Lock]:
            wanted, values = conditions(sight, db.dialect, of="e.")
            wanted.append("l.status = :status")
            if flow is not None:
                wanted.append("e.flow = :flow")
            values |= {"status": status, "flow": flow}
            return _page(db, wanted, values, limit, cursor)

        return await self._scan(look)

    async def next_expiry(self) -> float | None:
        """Return when the next open lock expires (seconds since the epoch), or None."""

        def look(db: Connection) -> float | None:
            by_time = db.dialect.by_index("locks", "locks_open")
            query = f"SELECT min(expires) FROM {by_time} WHERE status = 'open'"
            row: tuple[float | None] = db.execute(query).fetchone()
            return row[0]

        return await self._read(look)


def open_ones(db: Connection, execution: int, *, limit: int) -> list[Lock]:
    """Return an execution's open locks, oldest first, up to a limit."""
    wanted = ["l.execution = :execution", "l.status = 'open'"]
    return _page(db, wanted, {"execution": execution}, limit, None).items


def _asked_again(db: Connection, lock: Lock) -> Lock:
    """Return a lock that a flow asks for again. If it is still open, its execution awaits it."""
    now = ledger.state(db, lock.fid)
    if lock.status == "open" and now is not None and now.status is Status.RUNNING:
        lifecycle.add(db, now, ledger.NONE, Status.AWAITING)  # its flow was resumed
    return lock


def _get(db: Connection, lid: str) -> Lock:
    lock = _LOCKS.first(db, "WHERE l.lid = :lid", lid=lid)
    if lock is None:
        raise NotFoundError(f"there is no lock {lid!r}", hint="`koco inbox` lists the open ones")
    return lock


def _page(
    db: Connection, wanted: list[str], values: dict[str, Any], limit: int, cursor: str | None
) -> Page[Lock]:
    if cursor is not None:
        created, lid = pages.pair(cursor)
        wanted = [*wanted, "(l.created, l.lid) > (:after_created, :after_lid)"]
        values = {**values, "after_created": created, "after_lid": lid}
    clause = f"WHERE {' AND '.join(wanted)} ORDER BY l.created, l.lid"
    return _LOCKS.page(db, limit, lambda lock: f"{lock.created}~{lock.lid}", clause, **values)


def _settle(
    db: Connection, lock: Lock, status: str, *, answer: Answer | None = None, by: str | None = None
) -> None:
    """Settle a lock, with its event. If it was the last open one, the execution resumes."""
    changes: dict[str, Any] = {"status": status, "by": by, "settled": line.timestamp()}
    lease: dict[str, Any] = {"lid": lock.lid, "name": lock.name, "outcome": status}
    if answer is not None:
        changes |= {"answer": answer.value}
        changes |= {"moments": answer.moments or None, "hidden": answer.hidden or None}
        lease |= {"answer": masked(answer.value, answer.hidden), "by": by}
    _LOCKS.update(db, "WHERE lid = :lid", changes, lid=lock.lid)
    now = ledger.state(db, lock.fid)
    if lock.key and now is not None:
        waits.settle_lock(db, now, lock.key, status, lease.get("answer"))
    if now is None or now.status.is_final:
        return
    event = ledger.lines(line.encode(Kind.LEASE, lease))
    if now.is_parked:
        verb = "was answered" if status == "answered" else status
        waits.resolve(db, now, event, because=f"the lock {lock.name!r} {verb}")
        return
    resumes = now.status is Status.AWAITING and not lifecycle.has_open_lock(db, now)
    lifecycle.add(db, now, event, Status.RUNNING if resumes else None)
