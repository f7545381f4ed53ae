"""What a control plane with nothing to do costs, beyond Ray's own processes."""

import time
from collections.abc import Iterator

import psutil

from tests.bench.measures import Bench
from tests.bench.meters import Memory, cpu_percent
from tests.bench.report import Row


def processes(bench: Bench) -> Iterator[Row]:
    """Look at a control plane that was just started and has no service."""
    plane = bench.plane
    time.sleep(3)
    own = [process for process in plane.processes() if _is_koco(process)]
    memory = Memory.of(own)
    name = "idle"
    yield Row(
        name=name,
        measure="idle control plane: processes beyond Ray's own",
        value=len(own),
        unit="",
        bar=1,
        more={"processes of Ray": len(plane.processes()) - len(own)},
    )
    yield Row(
        name=name,
        measure="  its memory, RSS",
        value=memory.rss,
        unit="MB",
        bar=160,
        more={"PSS": memory.pss, "USS": memory.uss},
    )
    used = cpu_percent(plane.pid(), 4.0 if bench.quick else 10.0)
    yield Row(name=name, measure="  its CPU", value=used, unit="%", bar=2)


def after(bench: Bench) -> Iterator[Row]:
    """Look at it again after all that went before: what did it keep?"""
    memory = Memory.of([psutil.Process(bench.plane.pid())])
    yield Row(
        name="idle",
        measure="control plane after the load, RSS",
        value=memory.rss,
        unit="MB",
        more={"PSS": memory.pss},
    )


def _is_koco(process: psutil.Process) -> bool:
    """Tell koco's actors by the title that Ray gives a process."""
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return title.startswith(("ray::ControlPlane", "ray::Runner")) or "koco." in title
