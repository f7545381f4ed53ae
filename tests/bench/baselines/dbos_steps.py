"""The same steps with DBOS on SQLite, with its defaults: run by the Python of a venv that has it.

`steps DIR COUNT`, `work DIR STEPS`, `recover DIR` or `waiting DIR COUNT WOKEN`; prints JSON. It may
import nothing of koco, because that venv has no koco.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

_LOG: list[Path] = []
_BEGAN: list[float] = []


@DBOS.step()
async def nothing(number: int) -> int:
    """Do nothing."""
    return number


@DBOS.step()
async def tell() -> None:
    """Write down when the flow began in this process, and when this ran; then pause."""
    _write()
    await asyncio.sleep(0.01)


def _write() -> None:
    with _LOG[0].open("a") as file:
        file.write(f"{os.getpid()} {_BEGAN[-1]} {time.time()}\n")


@DBOS.workflow()
async def one_by_one(count: int) -> list[float]:
    """Time steps, one after another (milliseconds)."""
    took = []
    for number in range(count):
        begin = time.perf_counter()
        await nothing(number)
        took.append((time.perf_counter() - begin) * 1e3)
    return took


@DBOS.workflow()
async def together(count: int) -> float:
    """Gather so many steps; return the seconds that it took."""
    begin = time.perf_counter()
    await asyncio.gather(*(nothing(number) for number in range(count)))
    return time.perf_counter() - begin


@DBOS.workflow()
async def work(count: int) -> None:
    """Do so many steps, and go on with others until the process is killed."""
    _BEGAN.append(time.time())
    for number in range(count):
        await nothing(number)
    while True:
        await tell()


@DBOS.workflow()
async def wait() -> float:
    """Wait for a message; return when the step after it ran."""
    await DBOS.recv_async("go", timeout_seconds=86_400)
    await nothing(1)
    return time.time()


def main() -> None:
    """Do what the arguments say."""
    what, folder, *rest = sys.argv[1:]
    _LOG.append(Path(folder) / "log")
    database = f"sqlite:///{folder}/dbos.sqlite"
    DBOS(
        config={
            "name": "bench",
            "system_database_url": database,
            "log_level": "ERROR",
            # The same code: a process that is started again takes over what the killed one had.
            "application_version": "1",
        }
    )
    DBOS.launch()
    measured = asyncio.run(_ACTIONS[what](*map(int, rest)))
    print(json.dumps(measured), flush=True)
    # Without waiting for workflows that go on.
    os._exit(0)


async def _steps(count: int) -> dict[str, float]:
    await one_by_one(50)
    took = sorted(await one_by_one(count))
    together_s = statistics.median([await together(1000) for _ in range(3)])
    begin = time.perf_counter()
    handles = [await DBOS.start_workflow_async(one_by_one, 20) for _ in range(100)]
    await asyncio.gather(*(handle.get_result() for handle in handles))
    flows_s = time.perf_counter() - begin
    return {
        "p50": statistics.median(took),
        "p99": took[round(0.99 * (len(took) - 1))],
        "gather": 1000 / together_s,
        "flows": 2000 / flows_s,
    }


async def _work(count: int) -> dict[str, float]:
    """Run until it is killed."""
    with SetWorkflowID("work"):
        handle = await DBOS.start_workflow_async(work, count)
    await handle.get_result()
    return {}


async def _recover() -> dict[str, float]:
    """Go on with what the killed process had; wait to be killed."""
    await asyncio.sleep(3600)
    return {}


async def _waiting(count: int, woken: int) -> dict[str, float]:
    before, begin = _rss_mb(), time.perf_counter()
    handles = [await DBOS.start_workflow_async(wait) for _ in range(count)]
    started_s = time.perf_counter() - begin
    await asyncio.sleep(5)
    during, cpu, begin = _rss_mb(), _cpu_s(), time.perf_counter()
    await asyncio.sleep(10)
    percent = 100 * (_cpu_s() - cpu) / (time.perf_counter() - begin)
    took = []
    for handle in handles[:woken]:
        begin = time.time()
        await DBOS.send_async(handle.workflow_id, "hello", "go")
        took.append((await handle.get_result() - begin) * 1e3)
    return {
        "mb": during - before,
        "cpu": percent,
        "started_s": started_s,
        "wake_p50": statistics.median(took),
    }


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


_ACTIONS: dict[str, Any] = {
    "steps": _steps,
    "work": _work,
    "recover": _recover,
    "waiting": _waiting,
}

if __name__ == "__main__":
    main()
