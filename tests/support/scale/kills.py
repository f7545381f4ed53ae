"""What is killed, and what is done so that the storm can go on."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psutil

from tests.support.scale.cluster import Cluster, Member

#: How long PostgreSQL stays away, and a leader stands still (seconds).
_AWAY_S = (0.0, 1.5)
_STILL_S = (3.5, 8.0)
#: How long a process may go on after it woke up deposed (seconds).
_DEPOSED_S = 20.0

#: How many nodes there are beside the head.
NODES = 2
#: How often each kind comes, of all kills.
SHARES = {"leader": 25, "api": 20, "runner": 33, "node": 7, "postgres": 8, "still": 7}


class Kills:
    """Kills by random, and counts."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._beside: list[threading.Thread] = []
        #: How many nodes are being started.
        self._coming = 0
        self.count: Counter[str] = Counter()
        #: How often another process has come to lead.
        self.epochs: set[int] = set()
        self.faults: list[str] = []
        #: What was killed when, for reports (seconds since the epoch).
        self.log: list[str] = []

    @property
    def kinds(self) -> list[str]:
        """What can be killed here."""
        return [each for each in SHARES if each != "api" or self._cluster.api > 1]

    def choose(self) -> str:
        kinds = self.kinds
        [kind] = self._random.choices(kinds, [SHARES[each] for each in kinds])
        return kind

    def kill(self, kind: str) -> bool:
        """Kill one of a kind; False if there is none just now."""
        kills: dict[str, Callable[[], str]] = {
            "leader": self._leader,
            "api": self._api,
            "runner": self._runner,
            "node": self._node,
            "postgres": self._postgres,
            "still": self._still,
        }
        what = kills[kind]()
        if what:
            self.count[kind] += 1
            self.log.append(f"{time.time():.2f} {kind} {what}")
        return bool(what)

    def restore(self) -> None:
        """Have a node that was killed replaced, beside all else."""
        while self._coming + len(self._cluster.nodes) < NODES:
            self._coming += 1
            self._start(self._add_node)

    def _add_node(self) -> None:
        try:
            self._cluster.add_node()
        except Exception as exc:  # noqa: BLE001 - it is reported
            self.faults.append(f"a node did not come: {exc!r}")
        finally:
            self._coming -= 1

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._beside.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for what stood still, and for nodes that come."""
        for thread in self._beside:
            thread.join()

    def note_leader(self) -> None:
        """Note who leads."""
        self.epochs.add(self._cluster.plane().epoch)

    def _leader(self) -> str:
        leading = self._cluster.plane().leading
        return _kill9(leading) if leading else ""

    def _api(self) -> str:
        plane = self._cluster.plane()
        others = [each for each in plane.members if each.name != plane.leader]
        return _kill9(self._random.choice(others)) if others else ""

    def _runner(self) -> str:
        pids = self._cluster.titled("ray::Runner")
        pid = self._random.choice(pids or [0])
        return _kill9(Member("runner", "", pid)) if pid else ""

    def _node(self) -> str:
        nodes = self._cluster.nodes
        if not nodes:
            return ""
        titles = self._cluster.kill_node(self._random.choice(nodes))
        runners = sum(each.startswith("ray::Runner") for each in titles)
        planes = sum(each.startswith("ray::ControlPlane") for each in titles)
        return f"{len(titles)} processes: {runners} runners, {planes} of the control plane"

    def _postgres(self) -> str:
        how = self._random.choice((signal.SIGQUIT, signal.SIGINT))
        away_s = self._random.uniform(*_AWAY_S)
        self._cluster.server.stop(how)
        time.sleep(away_s)
        self._cluster.server.start()
        return f"{how.name}, away {away_s:.1f} s"

    def _still(self) -> str:
        leading = self._cluster.plane().leading
        if leading is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            process = psutil.Process(leading.pid)
            os.kill(leading.pid, signal.SIGSTOP)
            seconds = self._random.uniform(*_STILL_S)
            self._start(self._wake, process, leading.name, seconds)
            return f"{leading.name} {leading.pid} for {seconds:.1f} s"
        return ""

    def _wake(self, process: psutil.Process, name: str, seconds: float) -> None:
        """Wake a process again; if another one leads, it must end."""
        time.sleep(seconds)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
            until_s = time.monotonic() + _DEPOSED_S
            while process.is_running() and time.monotonic() < until_s:
                leading = self._cluster.plane().leading
                if leading is not None and leading.pid == process.pid:
                    return  # it still leads, or does again
                time.sleep(0.2)
            if process.is_running():
                self.faults.append(f"{name}, {process.pid}: woke up deposed, and did not end")


def _kill9(member: Member) -> str:
    try:
        os.kill(member.pid, signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return f"{member.name} {member.pid}"
