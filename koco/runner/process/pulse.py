"""A thread whose sleep shows, from outside the process, whether Python code can run in it.

It wakes twice a second while there is work. `koco.cluster.node_processes` counts how often the
thread goes to sleep: twice a second if the interpreter is free. If other code holds the
interpreter's lock, it is about two hundred times, because CPython then waits in steps of 5 ms. If
the process is stopped, the thread never sleeps again.
"""

import threading
import time

#: How long it sleeps (seconds).
_SLEEP_S = 0.5


class Pulse:
    """The thread; `id` is the kernel's number for it. It costs nothing without work."""

    def __init__(self) -> None:
        self._has_work = threading.Event()
        thread = threading.Thread(target=self._beat, name="koco-pulse", daemon=True)
        thread.start()
        self.id = thread.native_id or 0

    def set_active(self, has_work: bool) -> None:
        """Beat while there is work."""
        if has_work != self._has_work.is_set():
            (self._has_work.set if has_work else self._has_work.clear)()

    def _beat(self) -> None:
        while True:
            self._has_work.wait()
            time.sleep(_SLEEP_S)
