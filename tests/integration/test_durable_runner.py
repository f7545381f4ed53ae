"""Durable executions in real runners: parked and woken, and resumed after a death."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.driver import Koco, eventually

CODE = """
    import asyncio, os, time
    from koco import step

    @step
    async def fetch(name):
        return [name, os.getpid()]

    @step
    def fetch_sync(name):
        return [name, os.getpid()]

    async def asks(tracer):
        print("begins")
        found = await fetch("a")
        await tracer.result("fetched")
        answer = await tracer.lock("ok")
        print("goes on")
        return [found, answer, await fetch("b")]

    def asks_sync(tracer):
        print("begins")
        found = fetch_sync("a")
        tracer.result_sync("fetched")
        answer = tracer.lock_sync("ok")
        print("goes on")
        return [found, answer, fetch_sync("b")]

    async def naps(tracer):
        found = [await fetch("a")]
        await tracer.sleep(3)
        return [*found, await fetch("b")]

    async def works(tracer):
        print("begins")
        found = [await fetch(str(number)) for number in range(20)]
        await tracer.result("half way", found[0][1])
        await asyncio.sleep(2)
        print("goes on")
        return [*found, await fetch("last")]
"""

NAMES = ("asks", "asks_sync", "naps", "works")


def flows(service: str) -> list[dict[str, Any]]:
    module = f"{service.replace('-', '_')}_app"
    return [
        {"name": name.replace("_", "-"), "entrypoint": f"{module}:{name}", "durable": True}
        for name in NAMES
    ]


@pytest.fixture(scope="module", params=[1, 10], ids=["alone", "shared"])
def app(koco: Koco, request: pytest.FixtureRequest) -> Iterator[Koco]:
    service = f"durable-{request.param}"
    koco.run("up", "--set", "park_after=0.5").ok()
    runner = {"max": 2, "min": 1, "concurrency": request.param}
    yield koco.deploy(service, CODE, flows=flows(service), runner=runner)
    koco.run("up", "--set", "park_after=60").ok()


def status_of(app: Koco, fid: str) -> str:
    status: str = app.get(f"/v1/executions/{fid}")["status"]
    return status


def is_parked(app: Koco, fid: str) -> bool:
    told = [each["payload"] for each in app.get_events(fid) if each["kind"] == "status"]
    return bool(told[-1].get("parked"))


def printed(events: list[dict[str, Any]]) -> list[Any]:
    return [each["payload"] for each in events if each["kind"] in ("stdout", "result")]


def finals(events: list[dict[str, Any]]) -> Any:
    [found] = [each["payload"] for each in events if each["kind"] == "final"]
    return found


@pytest.mark.parametrize("flow", ["asks", "asks-sync"])
def test_a_flow_that_waits_for_a_person_leaves_and_comes_back(app: Koco, flow: str) -> None:
    """Its first step does not run again, and nothing that it wrote is stored twice."""
    fid = app.launch(flow)
    eventually(lambda: is_parked(app, fid))
    with app.http() as client:
        assert client.post(f"/v1/executions/{fid}/locks/ok", json="yes").status_code == 200
    events = app.events(fid)
    assert printed(events) == ["begins", "fetched", "goes on"]
    found, answer, after = finals(events)
    assert (found[0], answer, after[0]) == ("a", "yes", "b")


def test_a_flow_that_sleeps_leaves_and_comes_back(app: Koco) -> None:
    """At its time, and nobody has to ask for it."""
    fid = app.launch("naps")
    eventually(lambda: is_parked(app, fid))
    assert status_of(app, fid) == "sleeping"
    assert [name for name, _ in finals(app.events(fid))] == ["a", "b"]


def test_a_flow_resumes_after_the_death_of_its_runner(app: Koco) -> None:
    """Recorded steps keep the process in which they ran; what was written is not written again."""
    fid = app.launch("works")

    def half_way() -> Any:
        found = [each for each in printed(app.get_events(fid)) if "half way" in each]
        return found and found[0]

    half = eventually(half_way)
    os.kill(half[1], signal.SIGKILL)
    events = app.events(fid)
    *before, last = finals(events)
    assert before == [[str(number), half[1]] for number in range(20)]
    assert last[0] == "last"
    assert last[1] != half[1]
    assert [each for each in printed(events) if isinstance(each, str)] == ["begins", "goes on"]
