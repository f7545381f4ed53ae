"""One `koco up` brings everything back, whatever of its cluster has died."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from koco.bootstrap import local_head, running_heads
from tests.support.driver import Koco, calm_s, eventually
from tests.support.long import long

#: What `koco up` is promised to take (seconds), or on a machine that is busy as much more as the
#: first one has taken.
_BACK_S, _RATIO = 20.0, 3.0

FLOWS = """
    import time

    def hi():
        return "hi"

    def nap():
        time.sleep(600)
"""

#: How each part's process is known.
_TITLES = {
    "GCS": ("gcs_server",),
    "raylet": ("raylet/raylet",),
    "dashboard": ("dashboard/dashboard.py",),
    "dashboard agent": ("ray::DashboardAgent",),
    "environments' agent": ("ray::RuntimeEnvAgent",),
    "control plane": ("ray::ControlPlane",),
}
#: With any of these all of Ray has to be started anew.
_VITAL = {"GCS", "raylet", "dashboard agent", "environments' agent"}


class Killed(Koco):
    """A koco whose cluster's parts are killed, over and over."""

    #: How long its first `koco up` has taken.
    first_up_s = 0.0


@pytest.fixture(scope="module")
def koco() -> Iterator[Killed]:
    """One cluster for all deaths: each brings it back."""
    koco = Killed()
    try:
        began = calm_s()
        koco.up()
        koco.first_up_s = calm_s() - began
        koco.run("deploy", cwd=koco.project("back", FLOWS)).ok()
        koco.service = "back"
        yield koco
    finally:
        koco.close()


def processes(koco: Koco) -> list[psutil.Process]:
    """Return all processes of a home's cluster."""
    return [process for process, _ in local_head.marked(local_head.mark_of(koco.home))]


def part(koco: Koco, name: str) -> psutil.Process:
    """Return the process of one of a cluster's parts."""
    for process in processes(koco):
        line = " ".join(process.cmdline()[:3])
        if any(title in line for title in _TITLES[name]):
            return process
    raise AssertionError(f"there is no {name}")


def is_gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; psutil tells one that has got its number since."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    "dead",
    [
        ("raylet",),
        ("GCS",),
        ("dashboard",),
        ("dashboard agent",),
        ("environments' agent",),
        ("control plane",),
        ("GCS", "dashboard", "control plane"),
        pytest.param(("raylet", "GCS"), marks=long),
        pytest.param(("raylet", "dashboard"), marks=long),
        pytest.param(("dashboard", "control plane"), marks=long),
    ],
    ids=" and ".join,
)
def test_one_up_brings_everything_back(koco: Killed, dead: tuple[str, ...]) -> None:
    """It says what it found; what was stored is there, and nothing old is left beside it."""
    fid = koco.execute("hi").fid
    napping = koco.launch("nap")
    eventually(lambda: koco.get(f"/v1/executions/{napping}")["status"] == "running")
    context, before = koco.context, processes(koco)
    for process in [part(koco, name) for name in dead]:
        os.kill(process.pid, signal.SIGKILL)
    started = calm_s()
    up = koco.run("up", "--json").ok()
    took_s = calm_s() - started
    assert took_s < max(_BACK_S, _RATIO * koco.first_up_s), up.err
    told = up.json()
    print(
        f"{' and '.join(dead)}: back after {took_s:.1f} s, first {koco.first_up_s:.1f} s\n{up.err}"
    )
    is_anew = bool({*dead} & _VITAL)
    assert told["started"] == is_anew
    assert bool(told["ended"]) == is_anew
    # Ray starts a control plane anew by itself, perhaps before `koco up` looks.
    for name in {*dead} - {"control plane"}:
        assert (running_heads.AGENTS if "agent" in name else name) in told["gone"], told
    assert koco.context == context, "the same key at the same places"
    remains = running_heads.remains(local_head.mark_of(koco.home))
    assert remains.gone == []
    if is_anew:
        assert eventually(lambda: all(map(is_gone, before)), within_s=5), "nothing old is left"
    else:
        assert koco.get(f"/v1/executions/{napping}")["status"] == "running", "what runs goes on"
        koco.run("cancel", "--wait", napping)
    assert koco.get(f"/v1/executions/{fid}")["status"] == "finished"
    assert eventually(lambda: koco.get(f"/v1/executions/{napping}")["finished"])
    assert koco.execute("hi").status == "finished"
    assert koco.run("up", "--json").ok().json()["gone"] == []
