"""Flows that use something, and scenarios of what their runner says of it.

Each scenario runs in a process of its own: see `tests.support.lone_runner`.
"""

import asyncio
import subprocess
import sys
import time

from koco.events.used import Used
from koco.sdk.tracer import Tracer
from tests.support.lone_runner import Runner

_HALF_S = 0.4


def _burn(seconds: float = _HALF_S) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def busy_flow() -> None:
    _burn()


async def busy_async_flow() -> None:
    _burn()


def idle_flow() -> None:
    time.sleep(_HALF_S)


async def idle_async_flow() -> None:
    await asyncio.sleep(_HALF_S)


def large_flow() -> None:
    block = bytearray(300_000_000)
    time.sleep(0.05)
    del block


def subprocess_flow() -> None:
    code = f"import time\nwhile time.process_time() < {_HALF_S}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


async def sleeping_flow(tracer: Tracer) -> None:
    _burn()
    await tracer.sleep(60)


async def talking_flow(tracer: Tracer) -> None:
    for _ in range(6):
        _burn(0.1)
        await tracer.debug("still here")
        await asyncio.sleep(0.4)


async def _used(runner: Runner, flow: str, fid: str, **options: object) -> Used:
    mine = await runner.launch(flow, fid, durable=False, **options)
    await runner.finished(mine)
    return mine.used[-1]


async def alone(runner: Runner) -> None:
    """Everything that the process has done is the execution's; the next one begins anew."""
    busy = await _used(runner, "busy_flow", "a")
    assert _HALF_S * 0.9 <= busy.cpu_s <= busy.wall_s * 1.5, busy
    large = await _used(runner, "large_flow", "b")
    assert large.peak_memory_bytes > 300_000_000, large
    idle = await _used(runner, "idle_flow", "c")
    assert idle.wall_s >= _HALF_S and idle.cpu_s < _HALF_S / 2, idle
    assert idle.peak_memory_bytes < large.peak_memory_bytes - 200_000_000, (idle, large)
    other = await _used(runner, "subprocess_flow", "d")
    assert other.cpu_s >= _HALF_S * 0.9, other


async def together(runner: Runner) -> None:
    """A thread has its own time; async flows divide that of their loop."""
    flows = ("busy_flow", "idle_flow", "busy_async_flow", "idle_async_flow")
    used = await asyncio.gather(*(_used(runner, flow, flow) for flow in flows))
    busy, idle, *shared = (each.cpu_s for each in used)
    assert _HALF_S * 0.9 <= busy < _HALF_S * 1.5, used
    assert idle < _HALF_S / 4, used
    assert _HALF_S * 0.9 <= sum(shared) < _HALF_S * 1.5, used
    assert min(shared) > _HALF_S / 4, used
    assert all(each.peak_memory_bytes > 1_000_000 for each in used)


async def again(runner: Runner) -> None:
    """What it has used before is added; when it is parked, it is told as well."""
    before = Used(wall_s=100.0, cpu_s=10.0, peak_memory_bytes=2**40, ray_tasks=7)
    used = await _used(runner, "busy_flow", "a", used=before)
    assert used.wall_s > 100.3 and used.cpu_s > 10.3
    assert (used.peak_memory_bytes, used.ray_tasks) == (2**40, 7)
    mine = await runner.launch("sleeping_flow", "b")
    await runner.plane.until(lambda: bool(mine.parks) and mine.parks[-1].used is not None)
    parked = mine.parks[-1].used
    assert parked is not None and parked["cpu_s"] >= _HALF_S * 0.9  # type: ignore[index]


async def meanwhile(runner: Runner) -> None:
    """A flow that writes events is measured now and then, before its end."""
    mine = await runner.launch("talking_flow", "a", durable=False)
    await runner.finished(mine)
    assert len(mine.used) >= 2, mine.used
    first, *_, last = mine.used
    assert 0 < first.cpu_s < last.cpu_s and 1.9 < first.wall_s < last.wall_s, mine.used
