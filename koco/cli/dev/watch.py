"""Notice changes of files, by the operating system's own notifications."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from koco.cli.dev.happenings import Changed, Lost
from koco.cli.dev.sources import Sources
from koco.errors import UsageError

#: Changes in quick succession are one (milliseconds): how long nothing more must come, and how long
#: to wait for that at most. An editor saves by several operations.
_STEP_MS, _MOST_MS = 40, 400
#: How long the system takes to begin its notifications, at most (seconds).
_SET_UP_S = 0.25


class Watch:
    """Watches the sources of a deploy, which may be others after each deploy."""

    def __init__(self, report: Callable[[Changed | Lost], object]) -> None:
        self._report = report
        self._folders: frozenset[Path] = frozenset()
        self._stop = threading.Event()
        self._sources: Sources | None = None
        #: Whether a change of these sources was reported.
        self._is_reported = False
        self._lock = threading.Lock()

    def set(self, sources: Sources) -> None:
        """Report the first change of sources since they were read."""
        if sources is self._sources:
            return
        with self._lock:
            self._sources, self._is_reported = sources, False
        wanted = _outermost(sources.folders)
        if wanted != self._folders:
            self._stop.set()
            self._folders, self._stop = wanted, threading.Event()
            threading.Thread(
                target=self._run, args=(wanted, self._stop), name="koco-watch", daemon=True
            ).start()
        # What has changed before the notifications began.
        late = threading.Timer(_SET_UP_S, self._compare, (self._stop,))
        late.daemon = True
        late.start()

    def end(self) -> None:
        """Watch nothing."""
        self._stop.set()

    def _run(self, folders: frozenset[Path], stop: threading.Event) -> None:
        from watchfiles import watch  # only for this command

        try:
            for _ in watch(
                *folders,
                step=_STEP_MS,
                debounce=_MOST_MS,
                stop_event=stop,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._compare(stop)
        except (OSError, RuntimeError) as exc:
            self._report(Lost(_unwatchable(exc)))

    def _compare(self, stop: threading.Event) -> None:
        """Report it if the sources have changed. A log next to them does not count."""
        with self._lock:
            sources = self._sources
            if stop.is_set() or sources is None or self._is_reported:
                return
            if sources.read() != sources.seen:
                self._is_reported = True
                self._report(Changed(time.monotonic()))


def _unwatchable(exc: Exception) -> UsageError:
    return UsageError(
        f"the files cannot be watched: {exc}",
        hint="raise fs.inotify.max_user_watches if that is reached, or WATCHFILES_FORCE_POLLING=1",
    )


def _outermost(folders: Iterable[Path]) -> frozenset[Path]:
    """Return folders without those that are below others, and those that are not there."""
    there = {each for each in folders if each.is_dir()}
    return frozenset(each for each in there if not there & set(each.parents))
