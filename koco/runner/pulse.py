"""A thread whose sleep shows, from outside the process, whether Python code can run in it.

It wakes twice a second while there is work. Who looks at the process (`koco.cluster.processes`)
sees how often this thread went to sleep: twice a second where the interpreter is free, about two
hundred times where other code keeps the interpreter's lock, since CPython then waits in steps of
5 ms, and never where the process is stopped.
"""

import threading
import time

#: How long it sleeps (seconds).
_SLEEP_S = 0.5


class Pulse:
    """The thread; `id` is the kernel's number of it. Rests at no cost without work."""

    def __init__(self) -> None:
        self._has_work = threading.Event()
        thread = threading.Thread(target=self._beat, name="koco-pulse", daemon=True)
        thread.start()
        self.id = thread.native_id or 0

    def run(self, has_work: bool) -> None:
        """Beat while there is work."""
        if has_work != self._has_work.is_set():
            (self._has_work.set if has_work else self._has_work.clear)()

    def _beat(self) -> None:
        while True:
            self._has_work.wait()
            time.sleep(_SLEEP_S)
