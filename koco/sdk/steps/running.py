"""Report steps that run for a while, so that a follower sees them before they end.

One thread does so for all steps of the process. It sleeps while nothing is due: a timer for each
step would cost more than most steps.
"""

import contextvars
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from koco.sdk.interruption import fence

log = logging.getLogger(__name__)

#: After which time a step is reported as running (seconds).
AFTER_S = 0.02


class Report:
    """The report that an attempt runs. It is made once at most, and never after the end."""

    __slots__ = ("_make", "due")

    def __init__(self, make: Callable[[], object]) -> None:
        self.due = time.monotonic() + AFTER_S
        self._make: Callable[[], object] | None = make

    def send(self) -> None:
        """Make the report, unless the attempt has ended. Called with the reporter's lock."""
        if (make := self._make) is not None:
            self._make = None
            make()

    def drop(self) -> None:
        """Do not report any more. Called with the reporter's lock."""
        self._make = None


class Reporter:
    """Makes the reports that are due, in a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: deque[Report] = deque()
        self._work = threading.Event()
        thread = threading.Thread(target=self._run, name="koco-steps", daemon=True)
        # In an empty context, because the thread belongs to no execution.
        contextvars.Context().run(thread.start)

    def add(self, make: Callable[[], object]) -> Report:
        """Make a report a little later."""
        report = Report(make)
        with fence.inside():
            self._reports.append(report)
            if not self._work.is_set():
                self._work.set()
        return report

    def end(self, report: Report) -> None:
        """Return when a report is made, or never will be."""
        with fence.inside(), self._lock:
            report.drop()

    def _run(self) -> None:
        while True:
            self._work.wait()
            while self._reports:
                first = self._reports[0]  # all wait equally long, so they are due in this order
                if (left := first.due - time.monotonic()) > 0:
                    time.sleep(left)
                self._reports.popleft()
                self._send(first)
            self._work.clear()
            if self._reports:  # one was added just before
                self._work.set()

    def _send(self, report: Report) -> None:
        with self._lock:
            try:
                report.send()
            except Exception as exc:  # noqa: BLE001 - the step goes on, and its outcome follows
                log.debug("a running step could not be reported: %s", exc)


reporter: Callable[[], Reporter] = functools.cache(Reporter)
