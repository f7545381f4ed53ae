"""The storm: a crowd at work while everything is killed, and a report of it."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.driver import Koco
from tests.support.scale.checker import Checker, Fault
from tests.support.scale.cluster import SLOT, Cluster
from tests.support.scale.crowd import Crowd
from tests.support.scale.front import Front
from tests.support.scale.kills import Kills
from tests.support.scale.probe import Probe
from tests.support.scale.recorded import History, read_api, read_effects, read_store

_CODE = Path(__file__).parent / "flows.py"
#: How often a second kill follows at once (of 1), and how long it is until the next (seconds): in
#: few executions, and in many.
_DOUBLE, _PAUSE_S, _PAUSE_OF_MANY_S = 0.2, (0.2, 1.0), (0.5, 5.0)
#: How long everything may take to end once nothing is killed any more (seconds).
_CALM_S = 60.0
#: How often a line is printed (seconds).
_SAYS_S = 10
#: How long each launcher waits after a launch if it does not hurry (seconds).
_LEISURE_S = 0.2
#: How many executions may be open at once.
_AT_ONCE = 300
#: The services whose runners are on the nodes that are killed. The others are on the head.
ON_NODES = ("crowd", "kept")


def deploy(koco: Koco, effects: Path, runners: dict[str, int]) -> None:
    """Deploy the services, with so many runners each."""
    effects.touch()
    again = {"retries": 50, "backoff": 0.2}
    services: dict[str, dict[str, Any]] = {
        "crowd": {"emit": again, "mortal": {}},
        "lone": {"count": again},
        "kept": {"steps": {}, "family": {}},
        "probe": {"ping": again},
    }
    at_once = {"crowd": 50, "lone": 1, "kept": 20, "probe": 5}

    def ship(service: str) -> None:
        flows = [
            {
                "name": name,
                "entrypoint": f"{service}_app:{'emit' if name == 'mortal' else name}",
                "limits": limits,
                "durable": service == "kept",
            }
            for name, limits in services[service].items()
        ]
        size = runners[service]
        runner: dict[str, Any] = {"min": size, "max": size, "concurrency": at_once[service]}
        if service in ON_NODES:
            runner["resources"] = {SLOT: 1}
        runtime = {"env": {"EFFECTS": str(effects)}}
        koco.deploy(service, _CODE.read_text(), flows=flows, runner=runner, runtime=runtime)

    with ThreadPoolExecutor() as pool:
        for shipped in [pool.submit(ship, service) for service in services]:
            shipped.result()


class Storm:
    """Runs once; `report` and `faults` say how it went."""

    def __init__(
        self, cluster: Cluster, *, seed: int, total: int, kills: int | None, hurries: bool
    ) -> None:
        """Launch `total`, and kill so often; None kills as long as something is launched.

        Who does not hurry launches at leisure, until the last kill.
        """
        self._cluster = cluster
        self._seed = seed
        self._total = total
        self._most_kills = kills
        self._hurries = hurries
        self._effects = cluster.koco.root / "effects.log"
        urls = [each.url for each in cluster.plane().members]
        self._front = Front(urls, cluster.koco.context["key"])
        self._crowd = Crowd(
            self._front,
            seed=seed,
            total=total,
            launchers=6,
            followers=4,
            at_once=_AT_ONCE,
            pause_s=0.0 if hurries else _LEISURE_S,
        )
        self._probe = Probe(self._front, seed)
        self.kills = Kills(cluster, seed)
        self._took: Counter[str] = Counter()
        self.history = History()
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()

    @property
    def effects(self) -> Path:
        return self._effects

    def run(self) -> None:
        """Run it, wait until everything has ended, and look at what there is."""
        with self._taking("storm"), self._crowd.at_work(), self._knowing():
            self._kill()
            with self._taking("calm"):
                self._wait()
        if self._crowd.errors:
            raise self._crowd.errors[0]
        with self._taking("reading"):
            self._read()
        with self._taking("checking"):
            checker = Checker(self.history)
            self.faults = checker.check()
            self.counts = checker.counts
        self.faults += [Fault("deposed", "", each) for each in self.kills.faults]

    @contextmanager
    def _taking(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._took[what] = round(time.monotonic() - began)

    @contextmanager
    def _knowing(self) -> Iterator[None]:
        """Look where the processes are, once a second, and say sometimes how it goes."""
        is_over = threading.Event()

        def look() -> None:
            for second in itertools.count(1):
                if is_over.wait(1):
                    return
                self._front.know([each.url for each in self._cluster.plane().members if each.url])
                if second % _SAYS_S == 0:
                    kills = self.kills.count.total()
                    print(f"{second} s: {self._crowd.progress}, {kills} kills", flush=True)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _kill(self) -> None:
        """Kill one of each kind first, then by random."""
        chance = random.Random(self._seed)
        first = self.kills.kinds
        chance.shuffle(first)
        pause_s = _PAUSE_OF_MANY_S if self._hurries else _PAUSE_S
        while not self._is_enough(first) and not self._crowd.errors:
            kind = first[-1] if first else self.kills.choose()
            began = time.monotonic()
            if not self.kills.kill(kind):
                time.sleep(0.2)
                continue
            if first:
                first.pop()
            elif chance.random() < _DOUBLE:
                other = self.kills.choose()
                kind = f"{kind}+{other}" if self.kills.kill(other) else kind
            self._probe.measure(kind, began)
            self.kills.note_leader()
            self.kills.restore()
            time.sleep(chance.uniform(*pause_s))
        self.kills.join()
        self._crowd.has_enough.set()

    def _is_enough(self, first: list[str]) -> bool:
        if self._most_kills is None:
            return not self._crowd.is_launching and not first
        return self.kills.count.total() >= self._most_kills

    def _wait(self) -> None:
        """Wait until all is launched and has ended."""
        while self._crowd.is_launching and not self._crowd.errors:
            time.sleep(0.1)
        until_s = time.monotonic() + _CALM_S
        while self._crowd.open and time.monotonic() < until_s and not self._crowd.errors:
            time.sleep(0.2)

    def _read(self) -> None:
        history = self.history
        history.accepted = {**self._crowd.ledger.fids, **self._probe.ledger.fids}
        history.heard = self._crowd.heard
        history.followed = self._crowd.followed
        history.effects = read_effects(self._effects)
        read_store(history, self._cluster)
        read_api(history, self._front)

    def report(self) -> dict[str, Any]:
        """Return what happened, in figures."""
        storm_s = self._took["storm"] - self._took["calm"]
        return {
            "seed": self._seed,
            "seconds": dict(self._took),
            "a second": round(len(self._crowd.ledger.fids) / max(1, storm_s), 1),
            "kills": dict(self.kills.count),
            "epochs": len(self.kills.epochs),
            "accepted after": _seconds(self._probe.accepted_s),
            "finished after": _seconds(self._probe.finished_s),
            "requests repeated": dict(self._front.repeated),
            "launches by process": dict(self._crowd.ledger.by_url),
            "streams reopened": self._crowd.reconnected,
            **self.counts,
        }

    def slowest(self) -> str:
        """Return what is known of the probe that took longest to finish."""
        return self.dossier(max(self._probe.took)[1]) if self._probe.took else ""

    def dossier(self, fid: str) -> str:
        """Return what is known of an execution."""
        each = self.history.executions.get(fid)
        if each is None:
            return f"{fid}: not in the store"
        lines = b"".join(each.lines).decode()
        return f"{each.fid} {each.flow} {each.key} {each.status} {each.error}\n{lines}"


def _seconds(took: dict[str, list[float]]) -> dict[str, str]:
    """Return p50 and the longest of each kind."""
    together = {**took, "all": [each for some in took.values() for each in some]}
    return {
        kind: f"{sorted(some)[len(some) // 2]:.2f} max {max(some):.2f} s ({len(some)})"
        for kind, some in sorted(together.items())
        if some
    }
