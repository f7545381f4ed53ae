"""Flows of the durable tests, deployed as they stand here: the file is a whole service's code.

`program` interprets a program of `tests.support.durable_programs`. Each step appends a line to the
file `log` when it runs, so a test sees what ran how often.
"""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from koco import Tracer, step


def tell(log: str, *words: Any) -> None:
    """Append a line to a file, in one piece."""
    text = " ".join(map(str, (*words, os.getpid(), f"{time.time():.6f}"))) + "\n"
    with Path(log).open("ab", buffering=0) as file:
        file.write(text.encode())


def _lines(log: str, *words: str) -> int:
    """Count the lines that begin with these words."""
    begin = " ".join(words) + " "
    return sum(line.startswith(begin) for line in Path(log).read_text().splitlines())


@step
async def work(tracer: Tracer, log: str, value: int, seconds: float) -> int:
    """Calculate something."""
    tell(log, "ran", tracer.step_key)
    await asyncio.sleep(seconds)
    return value * 7 + 1


@step
def toil(tracer: Tracer, log: str, value: int, seconds: float) -> int:
    """Calculate the same, blocking."""
    tell(log, "ran", tracer.step_key)
    time.sleep(seconds)
    return value * 7 + 1


@step
async def fail(tracer: Tracer, log: str, value: int) -> int:
    """Fail."""
    tell(log, "ran", tracer.step_key)
    raise ValueError(f"no {value}")


@step(retries=4, backoff_s=0.05)
async def shaky(tracer: Tracer, log: str, value: int, failures: int) -> int:
    """Fail so often, then calculate the same."""
    key = tracer.step_key
    tell(log, "ran", key)
    if _lines(log, "failed", key) < failures:
        tell(log, "failed", key)
        raise ConnectionError(f"try {value} again")
    return value * 7 + 1


async def program(tracer: Tracer, text: str, log: str) -> Any:
    """Run a program, given as JSON; return the values of its parts."""
    return await _run(tracer, json.loads(text), log)


async def _run(tracer: Tracer, parts: list[list[Any]], log: str) -> list[Any]:
    return [await _do(tracer, log, *part) for part in parts]


async def _do(tracer: Tracer, log: str, what: str, *args: Any) -> Any:
    return await _ACTIONS[what](tracer, log, *args)


async def _work(tracer: Tracer, log: str, value: int, seconds: float) -> int:
    return await work(tracer, log, value, seconds)


async def _toil(tracer: Tracer, log: str, value: int, seconds: float) -> int:
    return toil(tracer, log, value, seconds)


async def _thread(tracer: Tracer, log: str, value: int, seconds: float) -> int:
    return await asyncio.to_thread(toil, tracer, log, value, seconds)


async def _fail(tracer: Tracer, log: str, value: int) -> str:
    try:
        return str(await fail(tracer, log, value))
    except ValueError as exc:
        return f"ValueError {exc}"


async def _shaky(tracer: Tracer, log: str, value: int, failures: int) -> int:
    return await shaky(tracer, log, value, failures)


async def _many(tracer: Tracer, log: str, values: list[int]) -> list[int]:
    return list(await asyncio.gather(*(work(tracer, log, value, 0) for value in values)))


async def _tasks(tracer: Tracer, log: str, *programs: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*(_run(tracer, each, log) for each in programs)))


async def _lock(tracer: Tracer, log: str, name: str) -> Any:
    return (await tracer.lock(name))["value"]


async def _sleep(tracer: Tracer, log: str, seconds: float) -> None:
    await tracer.sleep(seconds)


async def _receive(tracer: Tracer, log: str, name: str) -> Any:
    return (await tracer.receive(name, timeout=600))["value"]


async def _call(tracer: Tracer, log: str, child: list[Any]) -> Any:
    inputs = {"text": json.dumps(child), "log": log}
    return await tracer.call(os.environ["KOCO_SERVICE"] + "/program", inputs)


async def _call_failing(tracer: Tracer, log: str, value: int) -> str:
    inputs = {"text": json.dumps([["raise", value]]), "log": log}
    try:
        return str(await tracer.call(os.environ["KOCO_SERVICE"] + "/program", inputs))
    except Exception as exc:  # noqa: BLE001 - the test looks at what it is
        return "failed" if f"bad {value}" in str(exc) else repr(exc)


async def _print(tracer: Tracer, log: str, text: str) -> None:
    print(text)


async def _result(tracer: Tracer, log: str, text: str) -> None:
    await tracer.result(text)


async def _raise(tracer: Tracer, log: str, value: int) -> None:
    raise RuntimeError(f"bad {value}")


def program_sync(tracer: Tracer, text: str, log: str) -> Any:
    """Run a program that has no tasks and no asynchronous steps, in a thread."""
    return [_do_sync(tracer, log, *part) for part in json.loads(text)]


def _do_sync(tracer: Tracer, log: str, what: str, *args: Any) -> Any:
    match what:
        case "toil":
            return toil(tracer, log, *args)
        case "pool":
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(lambda value: toil(tracer, log, value, 0.02), args[0]))
        case "print":
            print(*args)
        case "result":
            tracer.result_sync(*args)
        case "sleep":
            tracer.sleep_sync(*args)
        case "lock":
            return tracer.lock_sync(*args)["value"]
        case "receive":
            return tracer.receive_sync(*args, timeout=600)["value"]
        case "call":
            inputs = {"text": json.dumps(args[0]), "log": log}
            return tracer.call_sync(os.environ["KOCO_SERVICE"] + "/program", inputs)
        case "raise":
            raise RuntimeError(f"bad {args[0]}")
        case _:
            raise AssertionError(what)
    return None


_ACTIONS = {
    name[1:].replace("_", "-"): action
    for name, action in list(globals().items())
    if asyncio.iscoroutinefunction(action) and name.startswith("_") and name not in ("_run", "_do")
}
