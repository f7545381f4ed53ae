"""A process of a shared store, which tests start, stop and kill. It does what its input says.

Each line is a command, and the output has a line for each thing that happens.
"""

import asyncio
import os
import signal
import sys
import time
from typing import Any

from koco.errors import KocoError
from koco.events.model import Status
from koco.store.engine.protocol import Connection
from koco.store.executions import repository
from koco.store.model import NewExecution
from koco.store.store import Store
from tests.support.stores import batch


async def main(url: str, name: str) -> None:
    store = Store.at(url, name)
    store.engine.on_deposed = lambda: say("fell")
    await store.open()
    say("open")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *args = line.split()
        try:
            say(command, await globals()[command](store, *args))
        except KocoError as exc:
            say(type(exc).__name__, command)
    await store.close()


def say(*words: object) -> None:
    print(*words, flush=True)


def new(user: str, **fields: Any) -> NewExecution:
    return NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, user=user, **fields)


async def lead(store: Store) -> int:
    return await store.engine.lead()


async def launch(store: Store, user: str) -> str:
    return (await store.executions.create(new(user)))[0].fid


async def stop(store: Store) -> str:
    """Stand still between two transactions."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return "continued"


async def inside(store: Store, user: str) -> str:
    """Stand still in the middle of a transaction, unless it is run again."""
    runs = 0

    def change(db: Connection) -> None:
        nonlocal runs
        repository._create(db, new(user))
        runs += 1
        if runs == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        repository._create(db, new(user))

    await store.engine.write(change)
    return f"{runs} runs"


async def hurry(store: Store, user: str, count: str) -> str:
    """Launch executions one after the other, with keys that others use as well."""
    fids = []
    for number in range(int(count)):
        execution, _ = await store.executions.create(new(user, key=f"k{number}", key_digest="same"))
        fids.append(execution.fid)
    return " ".join(fids)


async def live(store: Store, user: str, count: str, at_once: str) -> str:
    """Let executions live a whole life, some at once; return how long it took (seconds)."""
    began = time.perf_counter()
    turns = asyncio.Semaphore(int(at_once))

    async def one() -> None:
        async with turns:
            await life(store, user)

    await asyncio.gather(*(one() for _ in range(int(count))))
    return f"{time.perf_counter() - began:.3f}"


async def life(store: Store, user: str) -> str:
    execution, _ = await store.executions.create(new(user, tags=(user,)))
    assert await store.executions.assign(execution.fid, user)
    body = batch(execution.fid, 1, "x", "y", runner=user, status=Status.RUNNING)
    await store.events.append([body])
    end = batch(execution.fid, 3, "z", runner=user, status=Status.FINISHED)
    [ack] = await store.events.append([end])
    assert ack.last == 3
    assert not ack.closed
    return execution.fid


async def storm(store: Store, user: str, at_once: str) -> None:
    """Let executions live, and as a leader launch some in the name of its epoch, for ever.

    It says what was accepted. A leader that is deposed ends, as a control plane's process does.
    """
    store.engine.on_deposed = lambda: os._exit(1)

    async def live_on() -> None:
        while True:
            say("finished", await life(store, user))

    async def rule() -> None:
        epoch = await store.engine.lead()
        say("leads", epoch, time.monotonic())
        while True:
            execution, _ = await store.executions.create(new("leader", tags=(str(epoch),)))
            say("queued", execution.fid)
            await asyncio.sleep(0.005)

    await asyncio.gather(rule(), *(live_on() for _ in range(int(at_once))))


async def burst(store: Store, user: str, for_s: str, at_once: str) -> str:
    """Launch for some time; return how many there were."""
    until_s, count = time.perf_counter() + float(for_s), 0

    async def one() -> None:
        nonlocal count
        while time.perf_counter() < until_s:
            await store.executions.create(new(user))
            count += 1

    await asyncio.gather(*(one() for _ in range(int(at_once))))
    return str(count)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
