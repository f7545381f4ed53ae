"""Executions: the repository, and the SQL of launching, finding and deleting them."""

import asyncio
import contextlib
import math
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from koco import trace_context
from koco.errors import ConflictError, NoRoomError, NotFoundError, RetriedError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.used import Used
from koco.store import audit, files
from koco.store.engine.protocol import Connection, Engine
from koco.store.executions import listing, recency, resuming, search
from koco.store.executions.rows import EXECUTIONS
from koco.store.executions.settled import Settled
from koco.store.model import (
    EVERY,
    EVERYTHING,
    PROOF,
    Execution,
    ExecutionPage,
    FailureEvent,
    Filter,
    NewExecution,
    Policy,
    RunnerStart,
    Sight,
    Topic,
    masked,
)
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions
from koco.store.sql.table import columns
from koco.store.stream import durable, events, ledger, lifecycle, outbox, recording
from koco.store.stream.ledger import IS_OPEN

#: Crockford's base32 in lower case, which has no characters that look alike.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: 16 characters of 5 bits: random, so that a short prefix is enough from the start.
_FID_LENGTH = 16

#: Never the id of a deleted execution, because lists, changes and the full text index use these
#: ids.
_NEXT_ID = (
    "(SELECT 1 + max(id) FROM (SELECT coalesce(max(id), 0) AS id FROM executions"
    " UNION ALL SELECT coalesce(max(execution), 0) FROM changes) AS ids)"
)

#: A prefix that fits this many executions is too short to resolve.
_FITTING = 1000
#: How many of them the error for a short prefix names.
_NAMED = 5
#: How long a search waits for recent changes to be indexed (seconds).
_CATCH_UP_S = 0.05


class Executions(Repository):
    """Executions by fid."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._indexing = asyncio.Lock()
        self._settled = Settled()

    async def create(self, new: NewExecution) -> tuple[Execution, bool]:
        """Commit an execution as `queued`, with its first events; say whether it is new.

        If the user's key is known, return the execution that was launched with it.

        Raises:
            ConflictError: that key was used for a different request.
        """
        return await self._add(lambda db: _create(db, new))

    async def find_by_key(self, user: str, key: str) -> Execution | None:
        """Return the execution that a user launched with an idempotency key."""
        return await self._read(lambda db: _find_by_key(db, user, key))

    async def find(self, fid: str, sight: Sight = EVERYTHING) -> Execution | None:
        """Return an execution in sight by its whole fid.

        For callers whom a prefix must not help, because whoever knows a fid may act on it.
        """
        return await self._read(lambda db: _find(db, fid, sight))

    async def get(self, fid: str, sight: Sight = EVERYTHING) -> Execution:
        """Return an execution by its fid, a unique prefix of it, or `latest`.

        Executions out of sight count as missing.

        Raises:
            NotFoundError: no execution matches.
            ConflictError: the prefix fits several.
        """
        if fid != "latest":
            return await self._read(lambda db: get(db, fid, sight))
        cursor: str | None = None
        while True:
            page = await self.page(sight=sight, limit=1, cursor=cursor)
            if page.items:
                return page.items[0]
            if (cursor := page.next) is None:
                raise NotFoundError(
                    "there is no execution of yours yet",
                    hint="`koco run` starts one; `koco ps -a` lists all that you may see",
                )

    async def pickled(self, execution: Execution) -> str | None:
        """Return the pickled entrypoint and inputs of an execution; None if it has none."""
        if not execution.dialect:
            return None
        look = "SELECT body FROM pickles WHERE execution = :id"
        row = await self._read(lambda db: db.execute(look, {"id": execution.id}).fetchone())
        return None if row is None else row[0]

    async def page(
        self,
        wanted: Filter = EVERY,
        *,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> ExecutionPage:
        """Return matching executions, newest first. A cursor stays valid while others are added.

        A page may have fewer than `limit` if its executions are large, or if finding them takes
        long. It has a cursor then, and may even be empty.

        Raises:
            UsageError: the cursor is invalid, or `search` has no words.
            NoSearchError: this store cannot search.
            TimedOutError: the search takes too long.
        """
        if wanted.search is not None:
            await self._catch_up()

        def look(db: Connection) -> ExecutionPage:
            return listing.page(
                db, wanted, sight=sight, limit=limit, cursor=cursor, settled=self._settled
            )

        if listing.is_at_once(wanted, sight, limit):
            return await self._read(look)
        most_s = search.MOST_S if wanted.search is not None else math.inf
        return await self._scan(look, most_s=most_s)

    async def recent(
        self,
        wanted: Filter = EVERY,
        *,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> recency.RecentPage:
        """Return matching executions, the one whose status changed last first.

        Raises:
            UsageError: the cursor is invalid.
        """
        return await self._scan(
            lambda db: recency.page(db, wanted, sight=sight, limit=limit, cursor=cursor)
        )

    async def numbered(
        self, ids: Sequence[int], wanted: Filter = EVERY, *, sight: Sight = EVERYTHING
    ) -> list[Execution]:
        """Return the matching executions among those with some ids (see `Execution.id`)."""
        return await self._read(lambda db: listing.numbered(db, ids, wanted, sight=sight))

    async def all_open(self) -> list[Execution]:
        """Return every execution without a final status that is not parked, oldest first."""
        return await self._read(_all_open)

    async def count_by_status(self, sight: Sight = EVERYTHING) -> dict[str, int]:
        """Return how many executions have each status. A limited sight counts open ones only."""
        return await self._read(lambda db: _count_by_status(db, sight))

    async def count_mortal(self, sight: Sight = EVERYTHING) -> dict[str, int]:
        """Return how many executions would end with an error if all processes ended, by status.

        They have begun, are not durable, and no further attempt follows.
        """
        return await self._read(lambda db: _count_mortal(db, sight))

    async def count_open(self, service: str) -> dict[str, int]:
        """Return how many of a service's executions have not ended, by status."""
        return await self._read(lambda db: lifecycle.count_open(db, service))

    async def count_parked(self, service: str) -> int:
        """Return how many of a service's executions are parked."""
        return await self._read(lambda db: lifecycle.count_parked(db, service))

    async def assign(self, fid: str, runner: str, start: RunnerStart | None = None) -> bool:
        """Give a queued execution to a runner (`starting`).

        `start` tells how the runner started, if the execution waited for that.
        False if it is no longer queued, or its cancellation was requested.
        """
        return await self._write(lambda db: lifecycle.assign(db, fid, runner, start))

    async def requeue(self, fid: str, runner: str) -> bool:
        """Take back an execution that `runner` never began.

        False if the runner began it or no longer has it, or if its cancellation was requested.
        """
        return await self._write(lambda db: lifecycle.requeue(db, fid, runner))

    async def rebind(
        self, fid: str, *, former: int, release: int, inputs: dict[str, Any], hidden: Sequence[str]
    ) -> Execution | None:
        """Move an execution that has never begun to another release, with inputs in that one's
        form.

        Its stream records the move. Returns None and changes nothing if it has begun, has ended,
        or is of another release than `former`.
        """
        new = {"release": release, "inputs": inputs, "hidden": hidden or None, "runner": ""}
        return await self._write(lambda db: _rebind(db, fid, former, new))

    async def settle(self, fid: str, status: Status, error: FailureEvent | None = None) -> bool:
        """End an execution from outside its runner; False if it has ended already."""
        return await self._write(lambda db: lifecycle.settle(db, fid, status, error))

    async def lose(
        self, fid: str, runner: str, error: FailureEvent, *, because: str | None = None
    ) -> bool:
        """End an execution whose runner died, or queue it to resume or for its next attempt.

        `because` is why, if it resumes: the error's message if it is left out. If its cancellation
        was requested, it ends as cancelled or timed out. False if it has ended already, or another
        runner has it.
        """
        why = error.message if because is None else because
        return await self._write(lambda db: durable.lose(db, fid, runner, error, because=why))

    async def park(
        self,
        fid: str,
        runner: str,
        *,
        keys: Sequence[str],
        lids: Sequence[str],
        used: Used | None = None,
    ) -> bool:
        """Take a durable execution out of its runner, because it only waits.

        `keys` are its waits, `lids` its locks; `used` is what it has used so far. It is queued
        again as soon as one of them is over, which is told by `Store.listen`: perhaps at once,
        before this returns. False if the runner keeps it: it is to end, or one of its waits is not
        known.
        """
        return await self._write(lambda db: durable.park(db, fid, runner, keys, lids, used))

    async def time_out(self, now_s: float) -> list[str]:
        """Mark overdue executions as timed out; return their fids.

        If they are cancelled after that, they end as an error of type `TimedOut`.
        """
        return await self._write(lambda db: lifecycle.time_out(db, now_s))

    async def next_deadline(self) -> float | None:
        """Return the next deadline of an execution (seconds since the epoch), or None."""
        look = "SELECT min(deadline) FROM executions WHERE deadline IS NOT NULL"
        row: tuple[float | None] = await self._read(lambda db: db.execute(look).fetchone())
        return row[0]

    async def request_cancel(self, fid: str, *, grace_s: float) -> Execution:
        """Request the cancellation of an execution, and end it at once if no runner has it yet.

        Raises:
            NotFoundError: there is no such execution.
        """

        def change(db: Connection) -> Execution:
            found = get(db, fid)
            lifecycle.request_cancel(db, found.fid, grace_s)
            return get(db, found.fid)

        return await self._write(change)

    async def request_cancels(self, service: str, *, grace_s: float) -> list[str]:
        """Request the cancellation of all of a service's executions; return the fids that runners
        have.

        The others are no longer given to runners, and `end_waiting` ends them.
        """
        return await self._write(lambda db: lifecycle.request_cancels(db, service, grace_s))

    async def withdrawn_services(self) -> list[str]:
        """Return the services of which executions without a runner were asked to end."""

        def look(db: Connection) -> list[str]:
            withdrawn = " UNION ".join(
                f"SELECT service FROM {table} WHERE {where}"
                for table, where in lifecycle.to_end_parts(db)
            )
            return [service for (service,) in db.execute(withdrawn) if service]

        return await self._scan(look)

    async def end_waiting(self, service: str, *, most: int) -> list[str]:
        """End up to a number of a service's cancelled executions that no runner has; return their
        fids.
        """
        return await self._write(lambda db: lifecycle.end_waiting(db, service, most))

    async def delete(self, fid: str) -> None:
        """Remove an execution that has ended, with its events, files and locks.

        If it is interrupted, some events may be gone already. Call it again then.

        Raises:
            ConflictError: it has not ended.
            NotFoundError: there is no such execution.
        """
        while not await self._write(lambda db: _delete(db, fid)):
            pass

    async def forget_proofs(self) -> None:
        """Remove the executions that serve as proofs, with all their data."""
        gone = "DELETE FROM executions WHERE flow = :flow RETURNING fid"

        def change(db: Connection) -> None:
            db.touched.update(fid for (fid,) in db.execute(gone, {"flow": PROOF}).fetchall())

        await self._write(change)

    async def index(self) -> bool:
        """Make some stored text searchable; False if all of it is."""
        async with self._indexing:
            piece = await self._scan(search.gather)
            if piece is None:
                return False
            await self._add(lambda db: search.enter(db, piece))
            return True

    async def _catch_up(self) -> None:
        """Index recent changes, for as long as a search can wait."""
        await self._read(lambda db: db.dialect.search.require(db))
        until_s = time.monotonic() + _CATCH_UP_S
        with contextlib.suppress(NoRoomError):  # search the part that is indexed already
            while await self._read(search.has_news) and time.monotonic() < until_s:
                await self.index()


def _all_open(db: Connection) -> list[Execution]:
    found: list[Execution] = []
    for table, where in lifecycle.held_parts(db):
        rows = db.execute(
            f"SELECT {EXECUTIONS.columns} FROM {table} WHERE {where} AND service <> ''"
        )
        found += map(EXECUTIONS.read, rows)
    return sorted(found, key=lambda each: each.id)


def _create(db: Connection, new: NewExecution) -> tuple[Execution, bool]:
    if new.key is not None and (known := _find_by_key(db, new.user, new.key)):
        known.require_same(new.key_digest)
        return known, False
    if new.only_once:
        _require_first(db, new)
    fid, created = new.fid or new_fid(), line.timestamp()
    first = _first_events(fid, new)
    values = {
        "fid": fid,
        "flow": new.flow,
        "service": new.service,
        "release": new.release,
        "status": Status.QUEUED,
        "inputs": new.inputs,
        "user": new.user,
        "tags": new.tags,
        "created": created,
        "last_seq": first.total,
        "entrypoint": new.entrypoint,
        "key": new.key,
        "key_digest": new.key_digest,
        "moments": new.moments or None,
        "hidden": new.hidden or None,
        "policy": new.policy if new.policy != Policy() else None,
        "left_s": new.policy.timeout_s,
        "retry_of": new.retry_of,
        "parent": new.parent,
        "resume_of": new.resume_of,
        "origin": None if new.resume_of is None else resuming.origin_of(db, new.resume_of),
        "dialect": new.dialect,
        "traceparent": None if new.trace is None else new.trace.parent,
        "tracestate": None if new.trace is None else new.trace.state,
    }
    [row] = db.execute(_INSERT, EXECUTIONS.encode(values)).fetchall()
    execution = EXECUTIONS.read(row)
    db.touched.add(fid)
    if not db.leads:
        ledger.tell(db, Topic.LAUNCHED, fid)
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (:id, 1, :last, :body)",
        {"id": execution.id, "last": first.total, "body": first.body},
    )
    if new.pickled is not None:
        db.execute(
            "INSERT INTO pickles (execution, body) VALUES (:id, :body)",
            {"id": execution.id, "body": new.pickled},
        )
    if new.resume_of is not None:
        resuming.take_over(db, execution, new.resume_of, before=new.resume_from)
    if new.files:
        files.add(db, execution.id, new.files, created=created, by=new.user)
    for webhook in new.webhooks:
        outbox.add(db, msgspec.structs.replace(webhook, execution=execution.id))
    if new.audited is not None:
        # The audit entry is part of the same commit, so a launch waits for no second one.
        detail = {"flow": new.flow, **new.audited.detail}
        audit.add(db, [msgspec.structs.replace(new.audited, target=fid, detail=detail)])
    return execution, True


def _require_first(db: Connection, new: NewExecution) -> None:
    """Refuse to retry or resume an execution that already was.

    This is part of the commit, so if two people retry the same executions, each runs once.
    """
    former = new.retry_of or new.resume_of
    for column, done in (("retry_of", "retried"), ("resume_of", "resumed")):
        look = f"SELECT fid FROM executions WHERE {column} = :former ORDER BY id DESC LIMIT 1"
        if found := db.execute(look, {"former": former}).fetchone():
            raise RetriedError(
                f"execution {former} was {done} already, as {found[0]}",
                hint="`--again` (in the API `again=true`) does it once more",
                new=found[0],
            )


_CREATED = (
    *("fid", "flow", "service", "release", "status", "inputs", "user", "tags", "created"),
    *("last_seq", "entrypoint", "key", "key_digest", "moments", "hidden", "policy", "left_s"),
    *("retry_of", "parent", "resume_of", "origin", "dialect", "traceparent", "tracestate"),
)
_INSERT = (
    f"INSERT INTO executions (id, {columns(_CREATED)})"
    f" VALUES ({_NEXT_ID}, {', '.join(f':{name}' for name in _CREATED)})"
    f" RETURNING {EXECUTIONS.columns}"
)


def new_fid() -> str:
    """Return a fid that nothing has."""
    return "".join(_ALPHABET[byte % 32] for byte in secrets.token_bytes(_FID_LENGTH))


def _first_events(fid: str, new: NewExecution) -> ledger.Lines:
    """Return the first events of an execution's stream."""
    others = {"parent": new.parent, "resume_of": new.resume_of}
    parent = None if new.trace is None else new.trace.parent
    meta = {
        "fid": fid,
        "flow": new.flow,
        "service": new.service,
        "release": new.release,
        "user": new.user,
        "tags": new.tags,
        **{name: other for name, other in others.items() if other is not None},
        "trace_id": trace_context.trace_id(fid, parent),
        **new.about,
    }
    return ledger.lines(
        line.encode(Kind.META, meta),
        line.encode(Kind.INPUTS, masked(new.inputs, new.hidden)),
        *(line.encode(Kind.UPLOAD, files.describe(file, by=new.user)) for file in new.files),
        line.encode(Kind.STATUS, {"status": Status.QUEUED}),
    )


def _find_by_key(db: Connection, user: str, key: str) -> Execution | None:
    return EXECUTIONS.first(db, 'WHERE "user" = :user AND key = :key', user=user, key=key)


def _find(db: Connection, fid: str, sight: Sight) -> Execution | None:
    seen, values = conditions(sight, db.dialect)
    where = " AND ".join(["fid = :fid", *seen])
    return EXECUTIONS.first(db, f"WHERE {where}", fid=fid, **values)


def get(db: Connection, name: str, sight: Sight = EVERYTHING) -> Execution:
    """Return an execution in sight, by fid or unique prefix; see `Executions.get`."""
    found = _find(db, name, sight)
    if found is None and name:
        found = _resolve(db, name, *conditions(sight, db.dialect))
    if found is None:
        raise NotFoundError(
            f"no execution {name!r}", hint="`koco ps -a` lists executions, `koco run` starts one"
        )
    return found


def _resolve(
    db: Connection, prefix: str, seen: list[str], values: dict[str, Any]
) -> Execution | None:
    """Return the execution in sight whose fid begins with a prefix."""
    # U+10FFFF sorts after every character of a fid.
    values = {**values, "prefix": prefix, "end": prefix + "\U0010ffff"}
    # By the index on fid, because a single user may own all of a million executions.
    by_fid = db.dialect.by_index("executions", "executions_by_fid")
    fitting = f"SELECT id FROM {by_fid} WHERE fid >= :prefix AND fid < :end LIMIT {_FITTING}"
    where = " AND ".join([f"id IN ({fitting})", *seen])
    rows = db.execute(
        f"SELECT {EXECUTIONS.columns} FROM {db.dialect.by_key('executions')} WHERE {where}"
        f" ORDER BY id DESC LIMIT {_NAMED + 1}",
        values,
    )
    found = [EXECUTIONS.read(row) for row in rows]
    is_short = len(db.execute(fitting, values).fetchall()) == _FITTING
    if len(found) > 1 or is_short:
        raise _ambiguous(prefix, found)
    return found[0] if found else None


def _ambiguous(name: str, found: list[Execution]) -> ConflictError:
    """Return the error that lists the newest executions that a prefix fits."""
    listed = [f"{each.fid} ({each.flow}, {each.status})" for each in found[:_NAMED]]
    more = ["more"] if len(found) > _NAMED else []
    named = f": {', '.join(listed + more)}" if len(found) > 1 else ""
    return ConflictError(
        f"several executions begin with {name!r}{named}",
        hint="give more characters of the fid; `koco ps -a` lists them",
    )


def _count_by_status(db: Connection, sight: Sight) -> dict[str, int]:
    if sight == EVERYTHING:
        return dict(db.execute("SELECT status, count FROM tallies WHERE count > 0").fetchall())
    # Executions of others must not be counted, and counting a user's own million would take a
    # second.
    seen, values = conditions(sight, db.dialect)
    where = " AND ".join([IS_OPEN, "service <> ''", *seen])
    index = "executions_by_status" if sight.user is None else "executions_by_user_and_status"
    by_status = db.dialect.by_index("executions", index)
    count = f"SELECT status, count(*) FROM {by_status} WHERE {where} GROUP BY status"
    return dict(db.execute(count, values).fetchall())


def _count_mortal(db: Connection, sight: Sight) -> dict[str, int]:
    seen, values = conditions(sight, db.dialect)
    found: Counter[str] = Counter()
    for table, wanted in lifecycle.held_parts(db):
        where = " AND ".join([wanted, "status <> 'queued'", "service <> ''", *seen])
        rows = db.execute(
            f"SELECT status, policy, attempt - moves FROM {table} WHERE {where}", values
        )
        for status, policy, tries in rows:
            rules = msgspec.json.decode(policy, type=Policy) if policy else Policy()
            if not rules.durable and tries > rules.retries:
                found[status] += 1
    return dict(found)


def _rebind(db: Connection, fid: str, former: int, new: dict[str, Any]) -> Execution | None:
    waiting = (
        "WHERE fid = :fid AND release = :former AND status = 'queued' AND started IS NULL"
        " AND cancel_requested IS NULL AND timed_out IS NULL AND resume_of IS NULL"
    )
    has_moved = EXECUTIONS.update(db, waiting, new, fid=fid, former=former) > 0
    now = ledger.state(db, fid)
    if not has_moved or now is None:
        return None
    event = line.encode(Kind.STATUS, {"status": Status.QUEUED, "release": new["release"]})
    lifecycle.add(db, now, ledger.lines(event))
    return EXECUTIONS.first(db, "WHERE fid = :fid", fid=fid)


def _delete(db: Connection, fid: str) -> bool:
    """Remove a piece of an execution that has ended, or the rest; say whether it was the rest."""
    now = ledger.state(db, fid)
    if now is None:
        raise NotFoundError(f"no execution {fid}")
    if not now.status.is_final:
        raise ConflictError(
            f"execution {fid} has not ended: it is {now.status}",
            hint=f"`koco cancel {fid} --wait` ends it",
        )
    db.touched.add(fid)
    if not (events.remove_some(db, now.id) and recording.remove_some(db, now.id)):
        return False
    db.dialect.search.remove(db, now.id)
    EXECUTIONS.delete(db, "WHERE id = :id", id=now.id)
    return True
