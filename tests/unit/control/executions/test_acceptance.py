"""Launches in a process that does not lead: committed there, and run by the leader."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from koco.control.executions.acceptance import Acceptance
from koco.control.leadership import Leadership, OnlyLeaderError
from koco.control.services.catalog import Catalog
from koco.events.model import Status
from koco.store.model import NewExecution
from tests.support.pools import World, eventually, world


async def follower(w: World, **limits: Any) -> tuple[Acceptance, Leadership, NewExecution]:
    """Return a process that does not lead, and a launch."""
    release = await w.live(limits=limits)
    catalog = Catalog()
    catalog.put(release)

    async def nobody() -> None:
        return None

    leadership = Leadership(nobody)
    acceptance = Acceptance(
        w.store,
        w.supervisor,
        catalog,
        spooler=w.spooler,
        leadership=leadership,
    )
    new = NewExecution(flow="svc/flow", service="svc", release=release.number, inputs={})
    return acceptance, leadership, new


def test_what_is_accepted_waits_for_the_leader(tmp_path: Path) -> None:
    """This process gives it to no runner."""

    async def body(w: World) -> None:
        acceptance, _, new = await follower(w)
        execution = await acceptance.launch(new)
        await asyncio.sleep(0.1)
        assert (await w.store.executions.get(execution.fid)).status is Status.QUEUED
        assert not w.began

    world(tmp_path, body)


def test_a_process_that_comes_to_lead_meanwhile_runs_what_it_accepts(tmp_path: Path) -> None:
    """It has told nobody of it, and has looked at what waits before it was committed."""

    async def body(w: World) -> None:
        acceptance, leadership, new = await follower(w)
        create = w.store.executions.create

        async def slowly(new: NewExecution) -> Any:
            leadership.begin()
            await w.supervisor.catch_up()
            return await create(new)

        w.store.executions.create = slowly  # type: ignore[method-assign]
        execution = await acceptance.launch(new)
        await eventually(lambda: execution.fid in w.began)

    world(tmp_path, body)


def test_a_queue_with_a_limit_is_the_leaders(tmp_path: Path) -> None:
    """It alone counts what waits. Nothing is written here."""

    async def body(w: World) -> None:
        acceptance, _, new = await follower(w, queue=5)
        with pytest.raises(OnlyLeaderError):
            await acceptance.launch(new)
        assert not (await w.store.executions.page()).items

    world(tmp_path, body)
