"""Limits that somebody sets count at once, outlive restarts, and end when they are to."""

from pathlib import Path
from typing import Any

import pytest

from koco.errors import TooManyError
from tests.support.pools import World, eventually, world


async def override(w: World, *, until_deploy: bool = False, **limits: Any) -> None:
    live = await w.store.releases.live("svc")
    assert live
    await w.supervisor.overrides.put(
        "svc/flow", limits, release=live.number, until_deploy=until_deploy, by="ada"
    )
    w.supervisor.pump()


def test_a_raised_limit_lets_executions_begin_at_once(tmp_path: Path) -> None:
    """Without waiting until another one ends. A removed one is the manifest's again."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"running": 1}, concurrency=10)
        for _ in range(5):
            await w.launch()
        await eventually(lambda: len(w.began) == 1)
        await override(w, running=3)
        await eventually(lambda: len(w.began) == 3)
        await override(w, running=None)
        await eventually(lambda: len(w.began) == 5)
        await w.supervisor.overrides.remove("svc/flow")
        held = await w.launch()
        assert w.supervisor.why(held) == "5 run of at most 1"

    world(tmp_path, body)


def test_zero_holds_all_back(tmp_path: Path) -> None:
    """Launches are accepted, and `show` says why nothing begins."""

    async def body(w: World) -> None:
        await w.live()
        await override(w, running=0)
        held = await w.launch()
        assert w.supervisor.why(held) == "0 run of at most 0"
        await override(w, running=None)
        await eventually(lambda: w.began == [held.fid])

    world(tmp_path, body)


def test_one_limit_leaves_the_other(tmp_path: Path) -> None:
    """That of the manifest, or the one that was set before."""

    async def body(w: World) -> None:
        release = await w.live(limits={"running": 1, "queue": 1, "retries": 2})
        await override(w, running=0)
        limits = w.supervisor.limits(release, "flow")
        assert (limits.running, limits.queue, limits.retries) == (0, 1, 2)
        await override(w, queue=0)
        with pytest.raises(TooManyError):
            await w.launch()
        limits = w.supervisor.limits(release, "flow")
        assert (limits.running, limits.queue) == (0, 0)

    world(tmp_path, body)


@pytest.mark.parametrize("until_deploy", [False, True])
def test_it_outlives_restarts_and_only_if_wanted_deploys(
    tmp_path: Path, until_deploy: bool
) -> None:
    """The next release has its manifest's limits again if it was until a deploy."""

    async def body(w: World) -> None:
        first = await w.live(limits={"running": 1})
        await override(w, running=7, until_deploy=until_deploy)
        w.restart()
        await w.supervisor.recover({})
        assert w.supervisor.limits(first, "flow").running == 7
        second = await w.live(limits={"running": 2})
        assert w.supervisor.limits(second, "flow").running == (2 if until_deploy else 7)

    world(tmp_path, body)
