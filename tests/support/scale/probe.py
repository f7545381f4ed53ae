"""How long a kill is felt: until a launch is accepted again, and until it has finished."""

import json
import time
from collections import defaultdict
from itertools import count

from tests.support.scale.front import BROKEN, Client, Front, Ledger
from tests.support.scale.plan import PING, PROBE

#: How long an execution of the probe may take after a kill (seconds).
_MOST_S = 90.0
#: How long one stream is followed before another process is asked (seconds): one of them may stand
#: still.
_TURN_S = 3.0


class Probe:
    """Launches a flow that does nothing, with runners that nobody else has work for."""

    def __init__(self, front: Front, seed: int) -> None:
        self._client = Client(front, answer_s=_TURN_S)
        self._numbers = count(1)
        self._seed = seed
        self.ledger = Ledger()
        #: How long it took after each kind of kill until it was accepted, and had finished (s).
        self.accepted_s: defaultdict[str, list[float]] = defaultdict(list)
        self.finished_s: defaultdict[str, list[float]] = defaultdict(list)
        #: The same with the fid.
        self.took: list[tuple[float, str]] = []

    def measure(self, kind: str, since: float) -> None:
        """Launch once, and wait for its end; `since` is when the kill was (monotonic)."""
        key = f"{PROBE}-{self._seed}-{next(self._numbers)}"
        fid, url = self._client.launch(PING, {}, key)
        self.ledger.accept(key, fid, url)
        self.accepted_s[kind].append(time.monotonic() - since)
        self._await_end(fid)
        took_s = time.monotonic() - since
        self.finished_s[kind].append(took_s)
        self.took.append((took_s, fid))

    def _await_end(self, fid: str) -> None:
        until_s = time.monotonic() + _MOST_S
        while time.monotonic() < until_s:
            try:
                target = f"/v1/executions/{fid}/events?follow=true&kind=status"
                for line in self._client.lines(target, _TURN_S):
                    if line and json.loads(line)["payload"]["status"] == "finished":
                        return
            except BROKEN:
                time.sleep(0.02)
        raise AssertionError(f"{fid}, the launch of a probe, has not finished in {_MOST_S:g} s")
