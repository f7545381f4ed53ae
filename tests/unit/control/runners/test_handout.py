"""Launches that runners take from the socket: given once, many at once, and never lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from koco.control.runners import handout
from koco.control.runners.handout import Handout
from koco.control.server.local_calls import LocalCalls
from koco.runner.intake import Intake
from koco.runner.spec import Launch
from koco.sdk.process import local_socket
from koco.sdk.process.local_socket import LocalSocket


async def _nothing(blob: bytes) -> bytes:
    return b""


class _Node:
    """A control plane's socket, and a runner that takes launches from it."""

    def __init__(self, path: Path) -> None:
        self.handout = Handout()
        methods = {"append": _nothing, "ask": _nothing, "take": self.take}
        self.calls = LocalCalls(path, methods)
        self.asked = 0
        self.begun: list[str] = []
        self.refuses = False
        self.intake = Intake("r", LocalSocket(path), self.begin)
        self.running = asyncio.create_task(self.intake.run())

    async def take(self, blob: bytes) -> bytes:
        self.asked += 1
        return await self.handout.take(blob)

    async def begin(self, blob: bytes) -> bool:
        if self.refuses:
            return False
        self.begun.append(msgspec.json.decode(blob, type=Launch).fid)
        return True

    async def ready(self) -> None:
        while not self.handout._desks:
            await asyncio.sleep(0.005)


def _launch(fid: str) -> Launch:
    return Launch(fid=fid, flow="f", inputs={})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that runs a body with a node whose runner has asked."""
    monkeypatch.setattr(local_socket, "_AGAIN_S", 0.0)

    def run(body: Callable[[_Node], Awaitable[None]], *, is_open: bool = True) -> None:
        async def limited() -> None:
            node = _Node(tmp_path / "s")
            if is_open:
                await node.calls.open()
                node.intake.try_again()
                await asyncio.wait_for(node.ready(), 20)
            await asyncio.wait_for(body(node), 20)
            node.running.cancel()
            node.calls.close()

        asyncio.run(limited())

    return run


def test_those_that_are_given_at_once_go_in_one_answer(run: Callable[..., None]) -> None:
    """Each is given once, in order, and `give` returns when it has begun."""

    async def body(node: _Node) -> None:
        fids = [f"f{number}" for number in range(50)]
        before = node.asked
        found = await asyncio.gather(*(node.handout.give("r", _launch(fid)) for fid in fids))
        assert found == [True] * 50
        assert node.begun == fids
        assert node.asked == before + 1
        assert await node.handout.give("r", _launch("last"))
        assert node.begun == [*fids, "last"]

    run(body)


def test_a_runner_that_does_not_ask_has_its_actor_called(run: Callable[..., None]) -> None:
    """It is on another node, or has ended."""

    async def body(node: _Node) -> None:
        assert not await node.handout.give("r", _launch("a"))
        assert not await node.handout.give("other", _launch("a"))

    run(body, is_open=False)


def test_what_a_runner_refuses_is_known_at_once(run: Callable[..., None]) -> None:
    """A process that must end takes nothing."""

    async def body(node: _Node) -> None:
        node.refuses = True
        assert not await asyncio.wait_for(node.handout.give("r", _launch("a")), 0.9)

    run(body)


def test_what_is_not_confirmed_is_given_back(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is given until the runner asks again: its actor's call makes it do so."""
    monkeypatch.setattr(handout, "_CONFIRMED_S", 0.05)

    async def body(node: _Node) -> None:
        node.calls.close()  # the answer has nowhere to go
        assert not await node.handout.give("r", _launch("a"))
        assert not await node.handout.give("r", _launch("b"))
        assert node.begun == []
        await node.calls.open()
        asked = node.asked
        node.intake.try_again()
        while node.asked == asked:
            await asyncio.sleep(0.005)
        assert await node.handout.give("r", _launch("b"))
        assert node.begun == ["b"]

    run(body)


def test_a_dead_runner_gets_nothing(run: Callable[..., None]) -> None:
    """Whoever waits for its confirmation learns that at once."""

    async def body(node: _Node) -> None:
        node.running.cancel()
        giving = asyncio.create_task(node.handout.give("r", _launch("a")))
        await asyncio.sleep(0)
        node.handout.close("r")
        assert not await asyncio.wait_for(giving, 0.9)
        assert not await node.handout.give("r", _launch("b"))

    run(body)
