"""Whether a runner works: what silence means, by what is seen of its process from outside."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from koco.cluster.node_processes import NodeSilent, Sighting
from koco.control.runners import liveness
from koco.control.runners.liveness import Vigil
from koco.errors import KocoError
from koco.runner.spec import Presence

#: The thread that beats, and another one.
PULSE, OTHER = 11, 12


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASK_S", "ANSWER_S", "LOOK_S", "_REFUSES_S"):
        monkeypatch.setattr(liveness, name, 0.01)


class Actor:
    """A runner that answers as often as it is told to, and is seen in a state after the other."""

    is_there = True
    #: How long a look takes.
    look_s = 0.0

    def __init__(self, *, answers: int = 1, seen: Callable[[int], Any] = lambda look: None) -> None:
        self.answers = answers
        self.seen = seen
        self.looks = 0
        self.answering = asyncio.Event()

    async def attach(self) -> Presence:
        if not self.answers:
            await self.answering.wait()
        self.answers = max(0, self.answers - 1)
        return Presence(pid=1, node="n", fids=[], served=0, is_ready=True, pulse=PULSE)

    async def look(self) -> Sighting | None:
        self.looks += 1
        await asyncio.sleep(self.look_s)
        found = self.seen(self.looks)
        if isinstance(found, Exception):
            raise found
        assert found is None or isinstance(found, Sighting)
        return found


def seen(
    look: int,
    *,
    state: str = "S",
    cores: float = 0.0,
    pulse: float = 0,
    other: float = 0,
    **more: Any,
) -> Sighting:
    """Return what a look sees, a second after the former, at these rates."""
    switches = {PULSE: int(pulse * look), OTHER: int(other * look)}
    at = {"at": float(look), "cpu_s": cores * look, "rss_bytes": 1}
    return Sighting(state=state, switches=switches, **at, **more)


def kept(look: Callable[[int], Any], *, within_s: float = 60.0) -> str | None:
    async def body() -> str | None:
        actor = Actor(seen=look)
        return await asyncio.wait_for(Vigil(actor).keep(lambda: True), within_s)

    return asyncio.run(body())


@pytest.mark.parametrize(
    ("look", "cause"),
    [
        (lambda n: seen(n, state="T"), "a signal had stopped"),
        (lambda n: None, "is gone"),
        (lambda n: seen(n, state="Z"), "is gone"),
        (lambda n: seen(n, other=100, cores=0.01), "did nothing"),
        (lambda n: seen(n, pulse=2, cores=1.0, other=500), "did nothing"),
    ],
    ids=["stopped", "gone", "zombie", "idle", "the interpreter is free"],
)
def test_gives_up_a_runner_that_will_never_answer(look: Any, cause: str) -> None:
    """It is stopped, gone or idle, or has a free interpreter and does not answer."""
    assert cause in (kept(look) or "")


@pytest.mark.parametrize(
    "look",
    [
        lambda n: seen(n, cores=0.9),
        lambda n: seen(n, pulse=190),
        lambda n: seen(n, pulse=190, cores=0.9),
        lambda n: seen(n, other=190),
        lambda n: seen(n, running=1),
        lambda n: seen(n, state="D", waiting=1),
        lambda n: seen(n, state="t"),
        lambda n: NodeSilent("the node does not answer"),
        lambda n: seen(n, state="T" if n % 2 else "S", cores=1.0),
    ],
    ids=[
        "computes",
        "keeps the lock",
        "both",
        "no pulse yet",
        "lacks a CPU",
        "disk",
        "debugger",
        "node",
        "job",
    ],
)
def test_leaves_a_busy_runner_alone(look: Any) -> None:
    """Code that holds the interpreter, a slow machine, or a silent node."""
    with pytest.raises(TimeoutError):
        kept(look, within_s=0.5)


def test_an_overloaded_machine_gets_more_time() -> None:
    """A runner without a processor may well work. But it does not get any time."""

    def starved(look: int) -> Sighting:
        return seen(look, pulse=1, delays_s={PULSE: 0.5 * look})

    def calm(look: int) -> Sighting:
        return seen(look, pulse=2, delays_s={PULSE: 0.1 * look})

    async def looks(sight: Callable[[int], Sighting]) -> tuple[str | None, int]:
        actor = Actor(seen=sight)
        cause = await asyncio.wait_for(Vigil(actor).keep(lambda: True), 60)
        return cause, actor.looks

    cause, patient = asyncio.run(looks(starved))
    assert "no processor for it" in (cause or "")
    cause, usual = asyncio.run(looks(calm))
    assert "did nothing" in (cause or "")
    assert patient > 5 * usual


def test_looks_may_take_long() -> None:
    """On another node, where a process has to start for them."""

    async def body() -> str | None:
        actor = Actor(seen=lambda n: seen(n, state="T"))
        actor.look_s = 0.1
        return await asyncio.wait_for(Vigil(actor).keep(lambda: True), 60)

    assert "a signal had stopped" in (asyncio.run(body()) or "")


def test_describes_what_a_silent_runner_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For how long its code has held the interpreter, and with how much CPU."""

    async def body() -> None:
        actor = Actor(seen=lambda n: seen(n, pulse=190, cores=0.98))
        watched, looks = Vigil(actor), 0

        def on_busy() -> None:
            nonlocal looks
            looks += 1

        assert watched.says is None
        keeping = asyncio.create_task(
            watched.keep(lambda: not actor.answering.is_set(), on_busy=on_busy)
        )
        while looks < 3:
            await asyncio.sleep(0.005)
        assert watched.says
        assert "held the interpreter for 0 s, 98% of a core" in watched.says
        actor.answering.set()
        assert await keeping is None
        assert watched.says is None

    asyncio.run(body())


def test_gives_up_a_runner_that_refuses_calls() -> None:
    """Ray calls it dead but never reports its end."""

    async def body() -> str | None:
        actor = Actor()

        async def attach() -> Presence:
            raise KocoError("it is leaving")

        actor.attach = attach  # type: ignore[method-assign]
        return await Vigil(actor).keep(lambda: True)

    assert asyncio.run(body()) == "it is leaving"


def test_does_not_watch_an_idle_runner() -> None:
    """No call is made."""

    async def body() -> None:
        actor = Actor(answers=0)
        assert await Vigil(actor).keep(lambda: False) is None
        assert actor.looks == 0

    asyncio.run(body())
