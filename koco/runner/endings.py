"""What an execution has started in Ray is ended with it, beside the next one."""

import contextlib
import threading
import time

from koco.errors import KocoError
from koco.events import wire
from koco.sdk.control import Control
from koco.sdk.started import Started

#: How long Ray takes to tell what its workers do (`task_events_report_interval_ms`; seconds).
_TOLD_S = 1.5


def interrupt(started: Started | None) -> None:
    """Cancel what an execution has started, as it is to end itself; return at once."""
    if started is not None and not started.is_empty:
        threading.Thread(target=started.interrupt, name="koco-ending", daemon=True).start()


def end(started: Started, fid: str, control: Control, *, keep: bool) -> None:
    """End what an execution that is over has started; return at once. See `Started.end`."""
    if started.close():
        # A thread of its own, not one of the event loop's few: it waits for seconds.
        given = started, fid, control, keep
        threading.Thread(target=_end, args=given, name="koco-ending", daemon=True).start()


def _end(started: Started, fid: str, control: Control, keep: bool) -> None:
    began = time.monotonic()
    started.end(keep=keep)
    time.sleep(max(0.0, began + _TOLD_S - time.monotonic()))
    blob = wire.encode_question(fid, "work.ended", started.told(keep=keep))
    # Where nobody can look for the rest now, `koco status` does when it is asked.
    with contextlib.suppress(KocoError):
        wire.decode_answer(control.call_sync("ask", blob))
