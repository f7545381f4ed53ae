"""Notice changes of files, by the operating system's own notifications."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from koco.cli.dev.happenings import Changed, Lost
from koco.errors import UsageError

#: Changes in quick succession are one (milliseconds): how long nothing more must come, and how long
#: to wait for that at most. An editor saves by several operations.
_STEP_MS, _MOST_MS = 40, 400
#: How long the system takes to begin its notifications, at most (seconds).
_SET_UP_S = 0.25


class Watch:
    """Watches folders, which may be others after each deploy."""

    def __init__(self, report: Callable[[Changed | Lost], object]) -> None:
        self._report = report
        self._folders: frozenset[Path] = frozenset()
        self._stop = threading.Event()

    def set(self, folders: Iterable[Path], seen: str) -> None:
        """Watch these folders, and whatever is below them.

        `seen` is their `stamp` when their files were read: what has changed since is reported.
        """
        wanted = _outermost(folders)
        if wanted == self._folders:
            return
        self.end()
        self._folders, self._stop = wanted, threading.Event()
        threading.Thread(
            target=self._run, args=(wanted, self._stop, seen), name="koco-watch", daemon=True
        ).start()

    def end(self) -> None:
        """Watch nothing."""
        self._stop.set()

    def _run(self, folders: frozenset[Path], stop: threading.Event, seen: str) -> None:
        from watchfiles import watch  # only for this command

        def catch_up() -> None:
            if not stop.is_set() and stamp(folders) != seen:
                self._report(Changed((), time.monotonic()))

        late = threading.Timer(_SET_UP_S, catch_up)
        late.daemon = True
        late.start()
        try:
            for changes in watch(
                *folders,
                step=_STEP_MS,
                debounce=_MOST_MS,
                stop_event=stop,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                if stop.is_set():
                    return
                paths = tuple(sorted({Path(path) for _, path in changes}))
                self._report(Changed(paths, time.monotonic()))
        except (OSError, RuntimeError) as exc:
            self._report(Lost(_unwatchable(exc)))


def stamp(folders: Iterable[Path]) -> str:
    """Return a digest of the names, sizes and times of the files in folders."""
    from watchfiles import DefaultFilter  # only for this command

    ignored = set(DefaultFilter.ignore_dirs)
    digest = hashlib.sha256()
    for top in sorted(_outermost(folders)):
        for folder, below, files in os.walk(top):
            below[:] = sorted(set(below) - ignored)
            for name in sorted(files):
                with contextlib.suppress(OSError):  # it has gone meanwhile
                    found = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - faster
                    digest.update(f"{folder}/{name} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()


def _unwatchable(exc: Exception) -> UsageError:
    return UsageError(
        f"the files cannot be watched: {exc}",
        hint="raise fs.inotify.max_user_watches if that is reached, or WATCHFILES_FORCE_POLLING=1",
    )


def _outermost(folders: Iterable[Path]) -> frozenset[Path]:
    """Return folders without those that are below others, and those that are not there."""
    there = {each for each in folders if each.is_dir()}
    return frozenset(each for each in there if not there & set(each.parents))
