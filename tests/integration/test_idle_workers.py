"""Processes that Ray started for a flow's tasks end, however often the control plane died."""

import os

import psutil
import pytest

from koco.bootstrap.local_head import mark_of
from tests.support.driver import Koco, eventually, kill9

#: How often it is killed; 50 shows what goes wrong rarely.
KILLS = int(os.environ.get("KOCO_TEST_KILLS", "4"))
#: Tasks at once: more than Ray keeps idle processes.
TASKS = 6

TELLERS = """
    import asyncio, os, time

    import ray

    async def tell(tracer, go: str, count: int):
        work = ray.remote(num_cpus=0)(_tell)
        return sum(await asyncio.gather(*(work.remote(tracer, go, n) for n in range(count))))

    def _tell(tracer, go, number):
        tracer.result_sync("here")
        while not os.path.exists(go):
            time.sleep(0.01)
        tracer.result_sync("there")
        return 1
"""


def idle(koco: Koco) -> list[int]:
    """Return this cluster's worker processes that have nothing to do."""
    mark, found = mark_of(koco.home), []
    for process in psutil.process_iter():
        try:
            title = process.cmdline()[:1]
            if title == ["ray::IDLE"] and process.environ().get("KOCO_CLUSTER") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.timeout(120 + 30 * KILLS)
def test_no_worker_stays_because_a_call_of_the_tracer_failed(koco: Koco) -> None:
    """The control plane dies while tasks call it; what Ray keeps at the end is what it likes to."""
    service = koco.deploy("tellers", TELLERS, runner={"max": 1})
    for number in range(KILLS):
        go = koco.root / f"go-{number}"
        fid = service.launch("tell", go=str(go), count=TASKS)
        eventually(lambda fid=fid: _told(koco, fid).count("here") == TASKS)
        kill9(koco.control_pid())
        go.touch()
        events = eventually(lambda fid=fid: service.events(fid))
        assert events[-1]["payload"] == {"status": "finished"}
        assert [each["payload"] for each in events].count("there") == TASKS
    nodes = koco.get("/v1/status")["ray"]["nodes"]
    kept = int(sum(node["resources"]["CPU"] for node in nodes))
    assert kept < TASKS
    eventually(lambda: len(idle(koco)) <= kept, within_s=20)


def _told(koco: Koco, fid: str) -> list[object]:
    return [each["payload"] for each in koco.get_events(fid)]
