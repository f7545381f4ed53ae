"""The overview of the cluster: how old it may be, and who shares it."""

import asyncio
from collections.abc import Callable

import pytest

from koco.cluster.placement import Node
from koco.control.cluster_overview import Overview
from koco.errors import KocoError


@pytest.fixture(autouse=True)
def _not_in_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koco.control.cluster_overview._count_restarts", lambda: 2)


def _node(name: str) -> Node:
    return Node(id=name, address="", is_alive=True, resources={}, free={}, labels={}, death="")


class _Cluster:
    """Counts looks, and has a new node at each."""

    def __init__(self) -> None:
        self.looks = 0
        self.is_away = False

    async def look(self) -> list[Node]:
        self.looks += 1
        seen = self.looks
        await asyncio.sleep(0)
        if self.is_away:
            raise KocoError("Ray is away")
        return [_node(str(seen))]


def _names(found: object) -> list[str]:
    return [each.id for each in found.nodes]  # type: ignore[attr-defined]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets time pass."""
    now = 100.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("koco.control.cluster_overview.time.monotonic", lambda: now)
    return passes


def test_those_who_ask_at_once_share_a_look_for_half_a_second(
    clock: Callable[[float], None],
) -> None:
    """After that, Ray is asked again."""

    async def body() -> None:
        cluster = _Cluster()
        overview = Overview(cluster.look)
        found = await asyncio.gather(*(overview.describe() for _ in range(8)))
        assert [_names(each) for each in found] == [["1"]] * 8
        clock(0.4)
        assert _names(await overview.describe()) == ["1"]
        clock(0.2)
        assert _names(await overview.describe()) == ["2"]
        assert (await overview.describe()).restarts == 2

    asyncio.run(body())


def test_a_look_that_fails_is_told_to_all_and_not_kept(clock: Callable[[float], None]) -> None:
    """The next one who asks looks again, at once."""

    async def body() -> None:
        cluster = _Cluster()
        overview = Overview(cluster.look)
        cluster.is_away = True
        asked = (overview.describe() for _ in range(2))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == [KocoError, KocoError]
        cluster.is_away = False
        assert _names(await overview.describe()) == ["2"]

    asyncio.run(body())


def test_one_who_leaves_does_not_end_the_look_of_others(clock: Callable[[float], None]) -> None:
    """Its answer is still theirs."""

    async def body() -> None:
        overview = Overview(_Cluster().look)
        leaves = asyncio.create_task(overview.describe())
        stays = asyncio.create_task(overview.describe())
        await asyncio.sleep(0)
        leaves.cancel()
        assert _names(await stays) == ["1"]

    asyncio.run(body())
