"""Locks: pauses in which an execution waits for a person, and the answers that end them.

Locks and their answers are rows in the store. This module only keeps track of which
flows wait for which lock. A flow waits with a request that stays pending, and repeats
it if this process dies meanwhile.
"""

import asyncio
import contextlib
import time
import weakref
from typing import Any

import msgspec

from koco.control.access import payload_checks
from koco.control.events.spooler import Spooler
from koco.control.executions import json_depth
from koco.control.executions.waiting.alarm import Alarm
from koco.control.executions.waiting.room import when_there_is_room
from koco.control.executions.waiting.waiters import Waiters
from koco.control.services.endpoint_client import Endpoints
from koco.control.services.endpoint_messages import Form
from koco.control.tasks import Tasks
from koco.errors import ConflictError, NotFoundError
from koco.events import datetimes
from koco.events.line import encode_payload
from koco.forms import Model
from koco.forms.off_loop import is_small, run_check
from koco.manifest.descriptions import AppHandlers
from koco.sdk import locks
from koco.store.model import Answer, Execution, Lock, Release
from koco.store.store import Store

#: How many locks an error names.
_SHOWN = 10


class Locks:
    """Opens locks, tracks the requests that wait for them, and settles them."""

    def __init__(
        self,
        store: Store,
        spooler: Spooler,
        *,
        endpoints: Endpoints,
        waiters: Waiters | None = None,
    ) -> None:
        self._store = store
        self._spooler = spooler
        self._endpoints = endpoints
        self._waiters = waiters or Waiters()
        # Answers to one lock are handled one at a time, so that its lease never runs twice at once.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._alarm = Alarm("locks", self._expire)
        self._tasks = Tasks("the locks")

    async def recover(self) -> None:
        """Settle the locks that expired while no process ran, and set the timer for the next."""
        await self._alarm.ring()

    # calls of flows

    async def open(
        self,
        fid: str,
        lid: str,
        *,
        name: str,
        data: Any,
        timeout_s: float,
        key: str = "",
        position: int = 0,
        arguments: str = "",
    ) -> Lock:
        """Open a lock and return it. If a lock with this lid exists, return that as it is.

        `key`, `position` and `arguments` are those of the step that it is listed as.

        Raises:
            UsageError: the name or the timeout is invalid, or the data is nested too deeply.
            ConflictError: the execution has ended.
            LimitError: the execution has written as much as it may.
        """
        locks.check(name, timeout_s)
        what = f"the data of the lock {name!r}"
        await run_check(lambda: json_depth.check(data, what), is_quick=is_small(data))
        expires = time.time() + timeout_s
        lock = await when_there_is_room(
            self._store,
            fid,
            lambda: self._store.locks.open(
                fid,
                lid,
                name=name,
                data=data,
                expires=expires,
                key=key,
                position=position,
                arguments=arguments,
                most_bytes=self._spooler.most_bytes,
            ),
        )
        self._spooler.wake(fid)
        self._alarm.set(lock.expires)
        return lock

    async def wait(self, fid: str, lid: str) -> Lock:
        """Wait until a lock is settled; return it.

        Raises:
            ConflictError: the lock was withdrawn, because its execution has ended.
        """
        with self._waiters.waiting(fid, lid) as waiter:
            while (lock := await self._of(fid, lid)).status == "open":
                await waiter.until_woken()
        if lock.status == "withdrawn":
            raise ConflictError(
                f"the execution has ended, and with it the lock {lock.name!r}",
                hint="when an entrypoint returns, the locks of its threads and tasks are withdrawn",
            )
        return lock

    async def withdraw(self, fid: str, lid: str) -> Lock:
        """Called when a flow stops waiting for a lock. Returns the lock as it is then."""
        await self._of(fid, lid)
        lock = await self._store.locks.withdraw(lid)
        self._wake(lock)
        return lock

    async def _of(self, fid: str, lid: str) -> Lock:
        lock = await self._store.locks.get(lid)
        if lock.fid != fid:
            raise NotFoundError(f"execution {fid} has no lock {lid!r}")
        return lock

    def _wake(self, lock: Lock) -> None:
        self._waiters.wake(lock.fid, lock.lid)
        self._spooler.wake(lock.fid)

    # calls of people

    async def find(self, execution: Execution, name: str) -> Lock:
        """Return a lock of an execution, by lid, by name, or by a prefix of its lid.

        A name means the open lock of that name. If all of that name are settled, it means the
        latest.

        Raises:
            NotFoundError: no lock matches.
            ConflictError: several open locks have the name, or several lids begin with the prefix.
        """
        # Try the whole lid first, without reading the others, because there may be thousands.
        with contextlib.suppress(NotFoundError):
            lock = await self._store.locks.get(name)
            if lock.fid == execution.fid:
                return lock
        known = await self._store.locks.all_of(execution.id)
        for fits in (
            [lock for lock in known if lock.name == name and lock.status == "open"],
            [lock for lock in known if lock.name == name][-1:],
            [lock for lock in known if name and lock.lid.startswith(name)],
        ):
            if len(fits) > 1:
                called = ", ".join(f"{lock.lid} ({lock.name})" for lock in fits[:_SHOWN])
                called += f" and {len(fits) - _SHOWN} more" if len(fits) > _SHOWN else ""
                raise ConflictError(
                    f"several locks of {execution.fid} are called {name!r}",
                    hint=f"say which: {called}",
                )
            if fits:
                return fits[0]
        waiting = [lock.name for lock in known if lock.status == "open"]
        hint = f"open: {', '.join(waiting[:_SHOWN])}" if waiting else "none of its locks is open"
        raise NotFoundError(f"execution {execution.fid} has no lock {name!r}", hint=hint)

    async def form(self, lock: Lock, *, user: str) -> list[dict[str, Any]] | None:
        """Return the form that a lock is answered with, or None if it accepts any JSON value."""
        release = await self._store.releases.get(lock.service, lock.release)
        described = await self._described(release, lock, user)
        if described is not None and described.form is not None:
            return described.form
        declared = release.manifest.locks.get(lock.name)
        return Model.from_list(declared).to_list() if declared is not None else None

    async def elements(self, lock: Lock, *, user: str) -> list[dict[str, Any]] | None:
        """Return a lock's form in Kodosumi's elements; None if its app is not in that dialect."""
        release = await self._store.releases.get(lock.service, lock.release)
        described = await self._described(release, lock, user)
        return None if described is None else described.elements

    async def _described(self, release: Release, lock: Lock, user: str) -> Form | None:
        if not _is_handled(release, lock.name):
            return None
        return await self._endpoints.lock_form(
            release, lock.name, data=lock.data, fid=lock.fid, user=user
        )

    async def answer(self, lid: str, given: Any, *, by: str) -> Lock:
        """Answer a lock with a person's input; return the lock with the answer that its flow gets.

        Raises:
            InputsError: the form or the lease rejects the input. The lock stays open.
            UsageError: the input is nested too deeply.
            ConflictError: the lock is no longer open. The message says who answered and when.
        """
        await run_check(lambda: _check(given), is_quick=is_small(given))
        # Finish even if the client disconnects, because a lease that has run must count.
        return await self._tasks.finish(self._answer(lid, given, by))

    async def _answer(self, lid: str, given: Any, by: str) -> Lock:
        async with self._turns.setdefault(lid, asyncio.Lock()):
            lock = await self._store.locks.get(lid)
            # The store decides in the end. This check avoids running a lease for nothing.
            lock.require_open()
            answer = await self._leased(lock, given, by=by)
            json_depth.check(answer.value, f"the values that the lease {lock.name!r} gives")
            lock = await self._store.locks.answer(lid, answer, by=by)
        self._wake(lock)
        return lock

    async def _leased(self, lock: Lock, given: Any, *, by: str) -> Answer:
        release = await self._store.releases.get(lock.service, lock.release)
        if _is_handled(release, lock.name):
            return await self._endpoints.lease(
                release, lock.name, inputs=given, data=lock.data, fid=lock.fid, user=by
            )
        declared = release.manifest.locks.get(lock.name)
        if declared is None:
            return Answer(value=given)
        form = Model.from_list(declared)
        values = await form.validate_async(given)
        return await run_check(lambda: _answer(form, values), is_quick=is_small(given))

    # expiry

    async def _expire(self) -> float | None:
        for lock in await self._store.locks.expire(time.time()):
            self._wake(lock)
        return await self._store.locks.next_expiry()


def _check(given: Any) -> None:
    json_depth.check(given, "the answer's values")
    payload_checks.refuse(given, "the answer's values")


def _answer(form: Model, values: dict[str, Any]) -> Answer:
    """Return the answer that a flow gets from validated values."""
    value = msgspec.json.decode(encode_payload(values))
    return Answer(value=value, moments=datetimes.find(values), hidden=form.hidden)


def _is_handled(release: Release, name: str) -> bool:
    app = release.app or AppHandlers()
    return name in app.locks or name in app.leases
