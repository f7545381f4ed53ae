"""The locks of an execution in this process, which a person answers at this terminal.

To `koco.cli.approvals` it looks like a client. The flow waits in its own thread or on its own loop;
questions and answers come from the main thread, which has the terminal.
"""

import threading
import time
from concurrent.futures import Future
from typing import Any

import msgspec

from koco.cli.local_run.declared import Declared
from koco.cli.local_run.folder import Folder
from koco.client.answers import Lock, LockWithForm
from koco.errors import ConflictError, KocoError, NotFoundError
from koco.events import datetimes, line
from koco.events.questions import LockOutcome, OpenLock


class Desk:
    """Takes the questions of one execution, and a person's answers."""

    def __init__(self, fid: str, flow: str, declared: Declared, files: Folder) -> None:
        self.files = files
        self._fid = fid
        self._flow = flow
        self._declared = declared
        self._lock = threading.Lock()
        self._asked: dict[str, tuple[OpenLock, float]] = {}
        self._outcomes: dict[str, Future[LockOutcome]] = {}

    # what the flow needs

    def open(self, lock: OpenLock) -> None:
        """Note a question."""
        with self._lock:
            self._asked.setdefault(lock.lid, (lock, time.time()))
            self._outcomes.setdefault(lock.lid, Future())

    def waiting(self, lid: str) -> tuple["Future[LockOutcome]", float]:
        """Return the future outcome of a lock, and how long the flow waits for it (seconds)."""
        lock, since = self._asked[lid]
        return self._outcomes[lid], max(0.0, since + lock.timeout_s - time.time())

    def outcome(self, lock: OpenLock) -> LockOutcome | BaseException:
        """Return how a lock has ended; it has expired if nobody answered it."""
        future = self._outcomes[lock.lid]
        if future.cancel():
            return TimeoutError(f"nobody answered the lock {lock.name!r} in time")
        return future.result()

    def withdraw(self, lid: str) -> None:
        """Close a lock whose answer the flow no longer needs."""
        if (future := self._outcomes.get(lid)) is not None:
            future.cancel()

    def close(self) -> None:
        """Close every lock, because the flow was cancelled."""
        for future in self._outcomes.values():
            future.cancel()

    # what a client has

    def locks_of(self, fid: str) -> list[Lock]:
        """Return all locks, oldest first."""
        with self._lock:
            asked = list(self._asked.values())
        return [self._shown(lock, since) for lock, since in asked]

    def lock(self, fid: str, name: str) -> LockWithForm:
        """Return a lock with the form for its answer."""
        lock, since = self._find(name)
        return {**self._shown(lock, since), "form": self._form(lock)}  # type: ignore[typeddict-item]

    def answer(self, fid: str, name: str, value: Any) -> Lock:
        """Answer a lock, as the client does."""
        lock, since = self._find(name)
        answer, moments = self._checked(lock, value)
        plain = msgspec.json.decode(line.encode_payload(answer))
        outcome = LockOutcome(status="answered", answer=plain, moments=moments)
        future = self._outcomes[lock.lid]
        if future.done() or not future.set_running_or_notify_cancel():
            raise ConflictError(f"the lock {lock.name!r} is no longer open")
        future.set_result(outcome)
        return self._shown(lock, since)

    def _find(self, name: str) -> tuple[OpenLock, float]:
        for lock, since in self._asked.values():
            if name in (lock.lid, lock.name):
                return lock, since
        raise NotFoundError(f"there is no lock {name!r}")

    def _form(self, lock: OpenLock) -> list[dict[str, Any]] | None:
        from koco.testing import apps  # only for a flow that asks

        try:
            found = apps.form(self._declared.app, lock)
        except AssertionError as exc:
            raise KocoError(str(exc)) from exc
        return found if found is not None else self._declared.locks.get(lock.name)

    def _checked(self, lock: OpenLock, value: Any) -> tuple[Any, datetimes.Moments]:
        """Return what the flow gets of an answer; raises `InputsError` if it is refused."""
        from koco.forms import Model  # only for a flow that asks
        from koco.testing import apps  # as above

        try:
            leased = apps.lease(self._declared.app, lock, value)
        except AssertionError as exc:
            raise KocoError(str(exc)) from exc
        if leased is not None:
            return leased
        form = self._declared.locks.get(lock.name)
        if form is not None:
            value = Model.from_list(form).validate(value)
        return value, datetimes.find(value)

    def _shown(self, lock: OpenLock, since: float) -> Lock:
        return {
            "lid": lock.lid,
            "fid": self._fid,
            "flow": self._flow,
            "name": lock.name,
            "data": lock.data,
            "status": "answered" if self._outcomes[lock.lid].done() else "open",
            "created": line.timestamp(since),
            "expires": line.timestamp(since + lock.timeout_s),
            "settled": None,
            "by": None,
        }
