"""A person's next release takes the runner that was started for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from koco.cluster.runners import RunnerDied
from koco.control.executions.supervisor import spec_of
from koco.control.runners import spares
from koco.control.runners.spares import Spares
from koco.runner.spec import RunnerSpec
from koco.store.model import Release
from tests.support.releases import manifest

FLOW = {"name": "greet", "entrypoint": "app:greet"}
SERVICE = "hello~ada"


class Actor:
    """A runner's actor, as far as spares use it."""

    def __init__(self, runner_id: str) -> None:
        self.id = runner_id
        self.spec = b""
        self.is_over = self.is_dead = False

    async def attach(self) -> None:
        if self.is_dead:
            raise RunnerDied("its process is gone")

    async def end(self) -> None:
        self.is_over = True

    async def kill(self, *, after_s: float = 0.0) -> bool:
        return True


class World:
    """Spares whose actors are only remembered."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.is_deployed = True
        self.spares = Spares(self.live, self.environment, self.begin, spec_of)

    async def live(self, service: str) -> Release | None:
        return release(1, service=service) if self.is_deployed else None

    async def environment(self, release: Release) -> dict[str, Any]:
        return {"number": release.number, "env": dict(release.manifest.runtime.env)}

    async def begin(self, spec: RunnerSpec, environment: dict[str, Any], release: Release) -> Any:
        self.actors.append(Actor(spec.id))
        return self.actors[-1]

    async def take(self, release: Release) -> Any:
        return await self.spares.take(spec_of(release, "usual"), release)


def release(number: int, *, service: str = SERVICE, **keys: Any) -> Release:
    given = {"service": service, "flows": [FLOW], **keys}
    facts: dict[str, Any] = dict.fromkeys(("bundle", "fingerprint", "created", "by"), "x")
    facts |= {"status": "live", "flows": [], "manifest": manifest(**given)}
    return Release(service=service, number=number, **facts)


async def settle() -> None:
    """Let what was begun go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    monkeypatch.setattr(spares, "_PAUSE_S", 0)

    def run(body: Callable[[World], Awaitable[None]]) -> None:
        async def whole() -> None:
            await body(World())

        asyncio.run(whole())

    return run


def test_the_next_release_takes_the_spare_with_its_own_flows(world: Any) -> None:
    """It keeps the spare's id, and is told what to run. There is one spare for one runner."""

    async def body(w: World) -> None:
        w.spares.settled(release(1))
        await settle()
        following = release(2, flows=[FLOW, {**FLOW, "name": "other"}])
        assert await w.take(release(1)) is None, "a runner more of the live one is no spare"
        actor = await w.take(following)
        spec = msgspec.json.decode(actor.spec, type=RunnerSpec)
        assert spec == spec_of(following, actor.id)
        assert await w.take(following) is None
        assert not actor.is_over

    world(body)


@pytest.mark.parametrize(
    "changed",
    [
        {"runtime": {"env": {"A": "1"}}},
        {"runner": {"concurrency": 2}},
        {"secrets": ["KEY"]},
        {"app": "app:app"},
        {"number": 3},
    ],
    ids=lambda each: next(iter(each)),
)
def test_a_spare_that_does_not_fit_is_ended(world: Any, changed: dict[str, Any]) -> None:
    """The release starts its own."""

    async def body(w: World) -> None:
        w.spares.settled(release(1))
        await settle()
        assert await w.take(release(changed.pop("number", 2), **changed)) is None
        await settle()
        assert w.actors[0].is_over

    world(body)


def test_a_dead_spare_is_not_taken(world: Any) -> None:
    """Or the release would fail of it."""

    async def body(w: World) -> None:
        w.spares.settled(release(1))
        await settle()
        w.actors[0].is_dead = True
        assert await w.take(release(2)) is None

    world(body)


def test_an_undeployed_service_has_no_spare(world: Any) -> None:
    """Neither one that is there nor one that was about to start."""

    async def body(w: World) -> None:
        w.spares.settled(release(1))
        await settle()
        w.spares.drop(SERVICE)
        w.spares.settled(release(2))
        w.spares.drop(SERVICE)
        await settle()
        assert [each.is_over for each in w.actors] == [True]

    world(body)


def test_a_release_that_fails_as_its_service_is_undeployed_leaves_no_spare(world: Any) -> None:
    """Nobody would end it."""

    async def body(w: World) -> None:
        w.is_deployed = False
        w.spares.settled(release(1))
        await settle()
        assert w.actors == []

    world(body)


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("hello", {}),
        (SERVICE, {"secrets": ["KEY"]}),
        (SERVICE, {"app": "app:app"}),
        (SERVICE, {"runtime": {"dependencies": ["six"]}}),
        (SERVICE, {"runner": {"resources": {"CPU": 1}}}),
    ],
)
def test_only_simple_services_of_a_person_have_spares(
    world: Any, service: str, keys: dict[str, Any]
) -> None:
    """What others use costs nothing more, and nothing is reserved that may not be needed."""

    async def body(w: World) -> None:
        w.spares.settled(release(1, service=service, **keys))
        await settle()
        assert w.actors == []

    world(body)


def test_few_people_have_spares_at_once(world: Any) -> None:
    """The first of them."""

    async def body(w: World) -> None:
        for number in range(20):
            w.spares.settled(release(1, service=f"hello~p{number}"))
            await settle()
        assert len(w.actors) == spares._MOST

    world(body)
