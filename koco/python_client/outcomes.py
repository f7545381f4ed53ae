"""Wait until executions have another status, over one connection for all of them."""

import os
import threading
import time
from collections.abc import Callable, Collection

from koco.client.answers import Execution
from koco.client.client import Client
from koco.errors import KocoError, NotFoundError, TimedOutError, UnreachableError
from koco.events.model import FINAL

#: How long one request waits for changes (seconds).
_WAIT_S = 25.0
#: The longest time without a look at an execution (seconds), in case a change was missed.
_LOOK_S = 60.0
#: The pause before a control plane that is away is asked again (seconds).
_PAUSE_S = 1.0

Wake = Callable[[], object]


class Changes:
    """Wakes whoever waits for an execution when it changes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # By process, because a thread does not survive a fork, and a lock that it held stays held.
        self._followers: dict[int, _Follower] = {}
        self._is_closed = False

    def close(self) -> None:
        """Nobody is woken any more."""
        self._is_closed = True
        if (found := self._followers.get(os.getpid())) is not None:
            found.close()

    def add(self, fid: str, wake: Wake) -> None:
        """Call `wake` on each change of an execution from now on, until `remove`.

        It blocks until the control plane has told where its changes are. If the control plane is
        away, changes are not told before it is back; `wake` is called then.
        """
        self._follower().add(fid, wake)

    def remove(self, fid: str, wake: Wake) -> None:
        """Stop calling it."""
        self._follower().remove(fid, wake)

    def _follower(self) -> "_Follower":
        process = os.getpid()
        if (found := self._followers.get(process)) is None:
            made = _Follower(self._client, is_closed=self._is_closed)
            found = self._followers.setdefault(process, made)
        return found


class _Follower:
    """Follows the changes for one process. Its thread ends when nobody waits."""

    def __init__(self, client: Client, *, is_closed: bool) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._wakes: dict[str, list[Wake]] = {}
        self._is_running = False
        self._is_closed = is_closed
        self._has_begun = threading.Event()

    def close(self) -> None:
        """Have the thread end."""
        self._is_closed = True

    def add(self, fid: str, wake: Wake) -> None:
        """Call `wake` on each change of an execution; see `Changes.add`."""
        with self._lock:
            self._wakes.setdefault(fid, []).append(wake)
            if not self._is_running:
                self._is_running = True
                self._has_begun = threading.Event()
                threading.Thread(target=self._run, args=(self._has_begun,), daemon=True).start()
            has_begun = self._has_begun
        has_begun.wait(_WAIT_S)

    def remove(self, fid: str, wake: Wake) -> None:
        """Stop calling it."""
        with self._lock:
            wakes = self._wakes.get(fid, [])
            if wake in wakes:
                wakes.remove(wake)
            if not wakes:
                self._wakes.pop(fid, None)

    def _run(self, has_begun: threading.Event) -> None:
        cursor: str | None = None
        while self._is_wanted():
            try:
                if cursor is None:
                    cursor = self._client.changes(since="now")["next"]
                    has_begun.set()
                    self._wake(None)
                    continue
                page = self._client.changes(since=cursor, wait_s=_WAIT_S, limit=200)
                cursor = page["next"]
                self._wake([change["fid"] for change in page["items"]])
            except (UnreachableError, NotFoundError):
                # Away, or a restored store does not know the cursor.
                cursor = None
                time.sleep(_PAUSE_S)
            except KocoError:
                # Refused. Each waiting call then asks for its execution, and raises that error.
                has_begun.set()
                self._wake(None)
                cursor = None
                time.sleep(_PAUSE_S)
            except RuntimeError:
                if not self._is_closed:
                    raise

    def _is_wanted(self) -> bool:
        with self._lock:
            self._is_running = bool(self._wakes) and not self._is_closed
            return self._is_running

    def _wake(self, fids: Collection[str] | None) -> None:
        """Wake those who wait for some executions, or all."""
        with self._lock:
            chosen = self._wakes if fids is None else self._wakes.keys() & set(fids)
            wakes = [wake for fid in chosen for wake in self._wakes[fid]]
        for wake in wakes:
            wake()


class Deadline:
    """The end of a wait; `timeout_s` None is no end."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def pause_s(self, fid: str, status: str) -> float:
        """Return how long to wait before the next look.

        Raises:
            TimedOutError: the end has come.
        """
        left_s = _LOOK_S if self._at is None else self._at - time.monotonic()
        if left_s <= 0:
            what = f"{fid} is {status} after {self._timeout_s:g} s"
            raise TimedOutError(what, hint="the execution goes on")
        return min(_LOOK_S, left_s)


def is_reached(execution: Execution, statuses: Collection[str]) -> bool:
    """Return whether an execution has one of these statuses, or has ended."""
    return execution["status"] in FINAL or execution["status"] in statuses


def wait(
    client: Client,
    changes: Changes,
    fid: str,
    statuses: Collection[str] = (),
    *,
    timeout_s: float | None,
) -> Execution:
    """Return an execution once it has one of the statuses or has ended.

    Raises:
        TimedOutError: it has not in time.
    """
    deadline = Deadline(timeout_s)
    execution = client.execution(fid)
    if is_reached(execution, statuses):
        return execution
    news = threading.Event()
    changes.add(fid, news.set)
    try:
        while True:
            news.clear()
            execution = client.execution(fid)
            if is_reached(execution, statuses):
                return execution
            news.wait(deadline.pause_s(fid, execution["status"]))
    finally:
        changes.remove(fid, news.set)
