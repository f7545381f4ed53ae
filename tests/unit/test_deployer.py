"""Deploys that come at once, over a real store, with runners that live in this process."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from koco.control.catalog import Catalog
from koco.control.deployer import Deployer
from koco.store.model import Release
from tests.unit.test_pool import World, world

MANIFEST: dict[str, Any] = {
    "service": "svc",
    "flows": [],
    "runner": {"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 1, "executions": None},
}


def deployer(w: World) -> Deployer:
    serve: Any = SimpleNamespace(said={})  # no service has an app here
    return Deployer(w.store, w.supervisor, Catalog(), serve=serve, application=serve)


async def ready(deploys: Deployer, release: Release) -> Release:
    return await deploys.wait("svc", release.number, seconds=10)


def test_two_deploys_of_the_same_at_once_are_one_release(tmp_path: Path) -> None:
    """Neither is told that it failed, and nothing is started twice."""

    async def body(w: World) -> None:
        deploys = deployer(w)
        made = await asyncio.gather(
            *(deploys.deploy(MANIFEST, bundle="one", by="ada") for _ in range(5))
        )
        assert {release.number for release, _ in made} == {1}
        assert (await ready(deploys, made[0][0])).status == "live"
        assert (await deploys.deploy(MANIFEST, bundle="one", by="ada"))[1], "unchanged"

    world(tmp_path, body)


def test_going_back_while_another_release_is_on_its_way_counts(tmp_path: Path) -> None:
    """The last deploy wins: what is live now would not be, once the other one is ready."""

    async def body(w: World) -> None:
        deploys = deployer(w)
        first, _ = await deploys.deploy(MANIFEST, bundle="one", by="ada")
        await ready(deploys, first)
        w.importing.clear()
        await deploys.deploy(MANIFEST, bundle="two", by="ada")
        back, unchanged = await deploys.deploy(MANIFEST, bundle="one", by="bob")
        assert (back.number, unchanged) == (3, False)
        w.importing.set()
        assert (await ready(deploys, back)).status == "live"
        live = await w.store.live_release("svc")
        assert live is not None
        assert live.bundle == "one"

    world(tmp_path, body)
