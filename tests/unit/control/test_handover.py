"""What a control plane lets go of when another takes over: tasks, followers, the port."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from koco.control import tasks as module
from koco.control.events.spooler import Spooler
from koco.control.server.listener import Listening
from koco.control.settings import Settings
from koco.control.tasks import Tasks
from koco.store.model import NewExecution
from koco.store.store import Store


def test_spawned_tasks_end_and_no_more_begin() -> None:
    """Work that must finish does. Tasks that are spawned later do nothing."""

    async def main() -> None:
        tasks, done = Tasks("test"), []

        async def note(name: str, *, seconds: float = 0.0) -> None:
            await asyncio.sleep(seconds)
            done.append(name)

        spawned = tasks.spawn(note("spawned", seconds=60))
        carried = asyncio.create_task(tasks.finish(note("carried", seconds=0.01)))
        await asyncio.sleep(0)
        Tasks.stop()
        late = tasks.spawn(note("late"))
        await asyncio.wait({spawned, carried, late})
        assert done == ["carried"]
        assert spawned.cancelled()
        assert late.cancelled()
        await Tasks("another").spawn(note("the next one's"))
        assert done == ["carried", "the next one's"]

    asyncio.run(main())


def test_a_permanent_task_restarts_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without Ray or disk must not end it for good."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)

    async def main() -> None:
        looks, done = iter([OSError("away"), RuntimeError("away")]), asyncio.Event()

        async def look() -> None:
            if fault := next(looks, None):
                raise fault
            done.set()
            await asyncio.sleep(60)

        task = Tasks("test").keep(look)
        await asyncio.wait_for(done.wait(), 60)
        Tasks.stop()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(main())


def test_followers_are_disconnected(tmp_path: Path) -> None:
    """Their stream ends without a final status, so they come back."""

    async def main() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        spooler = Spooler(store)
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        execution, _ = await store.executions.create(new)

        async def follow() -> int:
            followed = spooler.follow(execution, heartbeat_s=60)
            return sum([piece.count(b"\n") async for piece in followed])

        follower = asyncio.create_task(follow())
        await asyncio.sleep(0.05)
        assert not follower.done()
        spooler.dismiss()
        assert await asyncio.wait_for(follower, 30) == execution.last_seq
        await store.close()

    asyncio.run(main())


def test_the_port_is_free_before_the_last_request_has_ended() -> None:
    """The successor listens meanwhile. Clients wait and are not refused."""
    answer_now = asyncio.Event()
    port = _free_port()

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["path"] == "/slow":
            await answer_now.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"old"})

    async def successor(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"new"})

    async def main() -> None:
        old, new = Listening(("127.0.0.1", port)), None
        assert await old.bound(1)
        old.serve(app, Settings())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/")).text == "old"
            slow = asyncio.create_task(client.get("/slow"))
            await asyncio.sleep(0.05)
            new = Listening(("127.0.0.1", port))
            assert not await new.bound(0.1)
            closing = asyncio.create_task(old.close())
            assert await new.bound(1)
            assert not slow.done()
            quick = asyncio.create_task(client.get("/"))
            new.serve(successor, Settings())
            assert (await quick).text == "new"
            answer_now.set()
            assert (await slow).text == "old"
            await closing
            await new.close()

    asyncio.run(main())


def test_an_unused_listener_releases_the_port() -> None:
    """Also one that never listened, so the former one can listen again."""
    port = _free_port()

    async def main() -> None:
        vain = Listening(("127.0.0.1", port))
        assert await vain.bound(1)
        waiting = Listening(("127.0.0.1", port))
        assert not await waiting.bound(0.1)
        await vain.close()
        assert await waiting.bound(1)
        await waiting.close()

    asyncio.run(main())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
