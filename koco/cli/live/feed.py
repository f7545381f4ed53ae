"""Learn that executions have changed, without asking again and again."""

import threading
import time
from collections.abc import Callable

from koco.client.client import Client
from koco.errors import KocoError, NotFoundError, UnreachableError

#: How long one request waits for news (seconds).
_WAIT_S = 30.0
#: The shortest time between two pieces of news (seconds): what changes all the time is looked at
#: once a second.
_PACE_S = 1.0


class Feed:
    """Watches the changes of all executions in a thread of its own.

    `wait` returns early if there is news. While the control plane is away, it is asked every
    second, and its return is news.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._news = threading.Event()
        self._error: KocoError | None = None
        self._is_closed = False

    def start(self) -> None:
        """Begin to watch. What has changed before that is not news."""
        client = self._connect()
        cursor = client.changes(since="now")["next"]
        threading.Thread(target=self._run, args=(client, cursor), daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for news, for at most `timeout_s`; return whether there is some.

        Raises:
            KocoError: the control plane refuses, for example because the key was revoked.
        """
        is_news = self._news.wait(timeout_s)
        self._news.clear()
        if self._error is not None:
            raise self._error
        return is_news

    def wake(self) -> None:
        """Let `wait` return now."""
        self._news.set()

    def close(self) -> None:
        """Stop watching. The thread ends with its request."""
        self._is_closed = True

    def _run(self, client: Client, cursor: str) -> None:
        while not self._is_closed:
            began_s = time.monotonic()
            try:
                cursor = self._next(client, cursor)
            except (UnreachableError, NotFoundError):
                # Gone, or restarting. A store that was restored may not know the cursor.
                cursor = "now"
                self._news.set()
            except KocoError as exc:
                self._error = exc
                self._news.set()
                return
            time.sleep(max(0.0, _PACE_S - (time.monotonic() - began_s)))

    def _next(self, client: Client, cursor: str) -> str:
        """Wait for a change, and return the cursor after all changes so far."""
        page = client.changes(since=cursor, wait_s=_WAIT_S, limit=1)
        if not page["items"]:
            return page["next"]
        # Before `_news` is set: the readers that it wakes then see all changes before the cursor.
        cursor = client.changes(since="now")["next"]
        self._news.set()
        return cursor
