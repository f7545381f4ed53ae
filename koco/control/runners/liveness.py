"""Check that a runner with work still works: ask it, and inspect its process if it is silent.

A runner answers in a separate thread, so it answers within milliseconds while its flow runs Python
code. There are three reasons for silence:

- C code holds the interpreter's lock. The runner is busy and is left alone.
- Its process is stopped. It has to be ended, because it will never answer.
- The thread that answers is broken. It has to be ended for the same reason.

If its machine has no processor for it, or for Ray, which carries the question, silence proves less.
Then it gets more time.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable

from koco.cluster.node_processes import Sighting
from koco.cluster.runners import RunnerActor
from koco.errors import KocoError
from koco.runner.spec import Presence

#: How often a runner that has work is asked (seconds).
ASK_S = 2.0
#: How long it may take to answer before its process is inspected (seconds), and the pause between
#: inspections (seconds).
ANSWER_S = 3.0
LOOK_S = 2.0
#: How many inspections in a row must agree before the runner is ended. A process is idle if it has
#: done nothing since the previous inspection.
_LOOKS = {"gone": 2, "stopped": 2, "idle": 2, "starved": 30}
_CAUSES = {
    "gone": "its process is gone",
    "stopped": "a signal had stopped its process, so it no longer answered",
    "idle": "it did not answer for {seconds:.0f} s, and did nothing",
    "starved": "it did not answer for {seconds:.0f} s, and its machine had no processor for it",
}
#: How long Ray may take to report the end of a runner that refuses calls (seconds).
_REFUSES_S = 2.0

#: From this rate of context switches on, the pulse thread is waiting for the interpreter. A thread
#: that waits goes to sleep 200 times a second, because CPython's switch interval is 5 ms.
#: `koco.runner.process.pulse` sleeps only twice a second if it does not have to wait.
_WAITS_HZ = 50.0
#: The same for other threads. It is higher because they have timers, and Ray's are as short as
#: 10 ms.
_OTHERS_WAIT_HZ = 140.0
#: From this share of a core on, a silent process counts as computing.
_COMPUTES = 0.05
#: From this share of time on in which the pulse thread was ready to run and got no processor, the
#: machine is overloaded. The thread needs one only twice a second.
_STARVED = 0.3


log = logging.getLogger(__name__)


class Vigil:
    """Watches one runner while it has work. Use it only on the control plane's loop."""

    def __init__(self, actor: RunnerActor) -> None:
        self._actor = actor
        self._pulse = 0
        #: Since when it has not answered (monotonic seconds); None if it answers.
        self.silent_since: float | None = None
        self._cores = 0.0
        self._is_traced = False
        self._is_starved = False

    @property
    def silent_s(self) -> float:
        """How long it has not answered (seconds)."""
        return 0.0 if self.silent_since is None else time.monotonic() - self.silent_since

    @property
    def says(self) -> str | None:
        """What the runner does instead of answering; None if it is not silent."""
        if self.silent_s < ANSWER_S:
            return None
        if self._is_traced:
            return f"a debugger has held its process for {self.silent_s:.0f} s"
        if self._is_starved:
            return f"its machine has had no processor for it for {self.silent_s:.0f} s"
        used = f"{self._cores:.0%} of a core"
        return f"its code has held the interpreter for {self.silent_s:.0f} s, {used}"

    async def keep(
        self, has_work: Callable[[], bool], *, on_busy: Callable[[], None] = lambda: None
    ) -> str | None:
        """Watch the runner while it has work. Return why it must be ended, or None when work ends.

        `on_busy` is called after each inspection that finds the runner busy.
        """
        await asyncio.sleep(ASK_S)
        while has_work():
            if self._actor.is_there and (cause := await self._ask(on_busy)) is not None:
                return cause
            await asyncio.sleep(ASK_S)
        return None

    async def _ask(self, on_busy: Callable[[], None]) -> str | None:
        asking = asyncio.ensure_future(self._actor.attach())
        self.silent_since = time.monotonic()
        try:
            if not await _ends(asking, ANSWER_S) and (
                cause := await self._look_on(asking, on_busy)
            ):
                return cause
            self._pulse = (await asking).pulse
        except KocoError as exc:
            # If it died, its watcher learns that. But Ray may just have stopped taking its calls.
            await asyncio.sleep(_REFUSES_S)
            return exc.message
        except Exception as exc:  # noqa: BLE001 - any error, if its process is broken
            return f"its process is broken: {type(exc).__name__}: {exc}".splitlines()[0]
        finally:
            self.silent_since = None
            asking.cancel()
        return None

    async def _look_on(
        self, asking: "asyncio.Future[Presence]", on_busy: Callable[[], None]
    ) -> str | None:
        """Inspect the process until the runner answers or is found not to work.

        Returns why it does not work, or None if it answered.
        """
        former: Sighting | None = None
        counts: Counter[str] = Counter()
        while True:
            try:
                now = await self._actor.look()
            except KocoError as exc:
                # Its node does not answer. Only Ray can say whether the node is lost.
                log.warning("a silent runner cannot be observed: %s", exc.message)
                former, kind = None, "unknown"
            else:
                kind, former = self._judge(former, now), now
            counts = Counter({kind: counts[kind] + 1})  # in a row
            if asking.done():
                return None
            if counts[kind] >= _LOOKS.get(kind, math.inf):
                return _CAUSES[kind].format(seconds=self.silent_s)
            if kind == "busy":
                on_busy()
            began = (
                time.monotonic()
            )  # not earlier: an inspection on another node may have to start a process there
            if await _ends(asking, LOOK_S):
                return None
            if time.monotonic() - began > 2 * LOOK_S:
                former = None  # this process itself was held up, so its view is not reliable
                counts.clear()

    def _judge(self, former: Sighting | None, now: Sighting | None) -> str:
        if now is None or now.is_gone:
            return "gone"
        if now.is_stopped:
            return "stopped"
        self._is_traced = now.is_traced
        if now.is_traced:
            return "busy"
        if former is None:
            return "busy"
        is_busy = self._is_busy(former, now)
        self._is_starved = self._cores < _COMPUTES and self._lacks_processor(former, now)
        if self._is_starved and not is_busy:
            return "starved"
        return "busy" if is_busy else "idle"

    def _lacks_processor(self, former: Sighting, now: Sighting) -> bool:
        """Return whether the pulse thread waited for a processor, and not for the interpreter."""
        pulse, seconds = self._pulse, max(now.at - former.at, 1e-3)
        if pulse not in now.switches or pulse not in former.switches:
            return False
        waited_s = now.delays_s.get(pulse, 0.0) - former.delays_s.get(pulse, 0.0)
        beats = now.switches[pulse] - former.switches[pulse]
        return waited_s / seconds >= _STARVED and beats / seconds < _WAITS_HZ

    def _is_busy(self, former: Sighting, now: Sighting) -> bool:
        seconds = max(now.at - former.at, 1e-3)
        self._cores = max(0.0, now.cpu_s - former.cpu_s) / seconds
        rates = {
            thread: (count - former.switches.get(thread, count)) / seconds
            for thread, count in now.switches.items()
        }
        if 0 < rates.get(self._pulse, 0) < _WAITS_HZ:
            return False  # the interpreter is free, and still the runner does not answer
        waits = rates.get(self._pulse, 0) >= _WAITS_HZ
        waits = waits or max(rates.values(), default=0) >= _OTHERS_WAIT_HZ
        return waits or self._cores >= _COMPUTES or now.running > 0 or now.waiting > 0


async def _ends(asking: "asyncio.Future[Presence]", within_s: float) -> bool:
    done, _ = await asyncio.wait({asking}, timeout=within_s)
    return bool(done)
