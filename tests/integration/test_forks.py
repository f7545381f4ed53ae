"""Processes of releases are forks of one that has imported Ray and koco."""

import psutil

from koco.bootstrap.local_head import mark_of
from tests.support.driver import Koco, eventually

CODE = """
    import os

    import ray

    def parents():
        work = ray.remote(num_cpus=0)(_parent)
        actor = ray.remote(num_cpus=0)(Actor).remote()
        return [os.getppid(), ray.get(work.remote()), ray.get(actor.parent.remote())]

    def _parent():
        return os.getppid()

    class Actor:
        def parent(self):
            return os.getppid()
"""


def _servers(koco: Koco) -> list[int]:
    mark, found = mark_of(koco.home), []
    for process in psutil.process_iter():
        try:
            title = process.cmdline()[:1]
            if title == ["koco fork server"] and process.environ().get("KOCO_CLUSTER") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_runners_ray_tasks_and_actors_are_forks(koco: Koco) -> None:
    """The first process of a release starts the server; it is there for the next ones."""
    koco.deploy("forks", CODE)
    servers = eventually(lambda: _servers(koco))
    flows = koco.deploy("forks", f"{CODE}\n    AGAIN = 1\n")
    assert set(flows.execute("parents").result) <= set(servers)


def test_a_killed_server_harms_nothing(koco: Koco) -> None:
    """Its forks go on, and the next process starts as without one, and then another server."""
    koco.deploy("forks-kill", CODE)
    servers = eventually(lambda: _servers(koco))
    koco.deploy("forks-kill", f"{CODE}\n    AGAIN = 1\n")
    killed = [psutil.Process(pid) for pid in servers]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    flows = koco.deploy("forks-kill", f"{CODE}\n    AGAIN = 2\n")
    assert not set(flows.execute("parents").result) & set(servers)
    assert set(eventually(lambda: _servers(koco))).isdisjoint(servers)
