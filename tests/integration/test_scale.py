"""Three machines, PostgreSQL, three processes of the control plane: nothing is lost to any kill.

`KOCO_SCALE=100000` launches so many, with 20 runners, and kills until all are accepted, or
`KOCO_KILLS` times. `KOCO_SEED` repeats another run's launches and choices. `KOCO_SCALE_API=1` has
one process of the control plane.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.driver import Koco
from tests.support.scale.cluster import Cluster
from tests.support.scale.kills import NODES
from tests.support.scale.storm import ON_NODES, Storm, deploy

_TOTAL = int(os.environ.get("KOCO_SCALE", "400"))
_IS_LONG = "KOCO_SCALE" in os.environ
_SEED = int(os.environ.get("KOCO_SEED", time.time_ns() % 1_000_000))
_KILLS = int(os.environ.get("KOCO_KILLS", "-1" if _IS_LONG else "6"))
_API = int(os.environ.get("KOCO_SCALE_API", "3"))

_RUNNERS = {"crowd": 8, "lone": 6, "kept": 4, "probe": 2}
_FEW = {"crowd": 3, "lone": 2, "kept": 2, "probe": 2}


@pytest.fixture
def cluster(fresh: Koco) -> Iterator[Cluster]:
    server = postgres.Server()
    sizes = _RUNNERS if _IS_LONG else _FEW
    # One more than half of them, so that they are on both.
    slots = 1 + sum(sizes[each] for each in ON_NODES) // 2
    cluster = Cluster(fresh, server, api=_API, slots=slots)
    try:
        cluster.up(nodes=NODES)
        yield cluster
    finally:
        cluster.close()
        fresh.run("down").ok()
        server.remove()


@pytest.mark.timeout(400 + _TOTAL // 40)
def test_nothing_is_lost_or_doubled_whatever_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    """What was accepted ends once, with the events that its flow wrote, in their order."""
    kills = _KILLS if _KILLS >= 0 else None
    storm = Storm(cluster, seed=_SEED, total=_TOTAL, kills=kills, hurries=_IS_LONG)
    deploy(cluster.koco, storm.effects, _RUNNERS if _IS_LONG else _FEW)
    try:
        storm.run()
    finally:
        print(storm.report())
        print(*storm.kills.log, storm.slowest(), sep="\n")
        for log in cluster.koco.home.glob("local/control*.log*"):
            shutil.copy(log, tmp_path)
        print(f"logs of the control plane: {tmp_path}")
    faults = "\n".join(map(str, storm.faults[:30]))
    fids = list(dict.fromkeys(each.fid for each in storm.faults if each.fid != "all"))[:5]
    known = "\n".join(storm.dossier(fid) for fid in fids)
    message = f"seed {_SEED}: {len(storm.faults)} faults\n{faults}\n{known}"
    assert not storm.faults, message
