"""End the Ray tasks and actors of an execution, while the next execution may already run."""

import contextlib
import threading
import time

from koco.errors import KocoError
from koco.events import wire
from koco.sdk.process.control_client import Control
from koco.sdk.ray_work.registry import Started

#: How long Ray takes to report the state of tasks (`task_events_report_interval_ms`; seconds).
_TOLD_S = 1.5


def interrupt(started: Started | None) -> None:
    """Cancel an execution's Ray tasks, because it is asked to end itself; return at once."""
    if started is not None and not started.is_empty:
        threading.Thread(target=started.interrupt, name="koco-ending", daemon=True).start()


def end(started: Started, fid: str, control: Control, *, keep: bool) -> None:
    """End an execution's remaining Ray tasks and actors; return at once. See `Started.end`."""

    def end_all() -> None:
        began = time.monotonic()
        started.end(keep=keep)
        time.sleep(max(0.0, began + _TOLD_S - time.monotonic()))
        question = started.rest(keep=keep)
        blob = wire.encode_question(fid, question)
        # If the control plane cannot look for leftovers now, a later `koco status` does so.
        with contextlib.suppress(KocoError):
            wire.decode_answer(control.call_sync("ask", blob), question)

    if started.close():
        # Its own thread, because it waits for seconds and the event loop's pool is small.
        threading.Thread(target=end_all, name="koco-ending", daemon=True).start()
