"""Cancelling: asked first, killed after the grace period, `cancelled` at the end."""

import time

import pytest

from tests.support.driver import Koco, calm_s, eventually

CODE = """
    import asyncio, os, time

    async def polite(tracer):
        await tracer.result(os.getpid())
        try:
            await asyncio.sleep(60)
        finally:
            await tracer.result("tidied up")

    def sync(tracer):
        tracer.result_sync(os.getpid())
        try:
            for _ in range(6000):
                time.sleep(0.01)
        finally:
            tracer.result_sync("tidied up")

    def deaf(tracer):
        tracer.result_sync(os.getpid())
        while True:
            try:
                time.sleep(0.05)
            except BaseException:
                pass

    def quick():
        return os.getpid()
"""

SHARED = """
    import asyncio

    async def nap(tracer, seconds: float = 1.0):
        await tracer.result("began")
        await asyncio.sleep(seconds)
        return "slept"

    async def stubborn(tracer):
        await tracer.result("began")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    koco.deploy("cancel-shared", SHARED, runner={"max": 1, "concurrency": 100})
    return koco.deploy("cancel", CODE, runner={"max": 2})


def begun(app: Koco, flow: str) -> tuple[str, object]:
    fid = app.launch(flow)
    first = eventually(lambda: [e["payload"] for e in app.get_events(fid) if e["kind"] == "result"])
    return fid, first[0]


def cancel(app: Koco, fid: str, grace_s: float) -> list[dict[str, object]]:
    with app.http() as client:
        answer = client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": grace_s})
    assert answer.status_code == 202, answer.text
    return app.events(fid)


@pytest.mark.parametrize("flow", ["polite", "sync"])
def test_a_flow_may_tidy_up_and_its_runner_goes_on(app: Koco, flow: str) -> None:
    """Its `finally` runs, the stream ends `cancelled`, the process serves the next one."""
    fid, pid = begun(app, flow)
    events = cancel(app, fid, 10)
    assert events[-1]["payload"] == {"status": "cancelled"}
    assert "tidied up" in [event["payload"] for event in events]
    assert app.execute("quick").result == pid


def test_a_deaf_flow_is_killed_after_the_grace(app: Koco) -> None:
    """A flow that swallows the request loses its process, not the user's patience."""
    fid, pid = begun(app, "deaf")
    began, calm = time.monotonic(), calm_s()
    events = cancel(app, fid, 0.5)
    assert time.monotonic() - began > 0.4
    assert calm_s() - calm < 5
    assert events[-1]["payload"] == {"status": "cancelled"}
    assert app.execute("quick").result != pid


def test_neighbours_in_a_shared_process_are_spared(app: Koco) -> None:
    """One is cancelled, one that will not hear is given up; the third finishes."""
    stubborn, _ = begun(app, "cancel-shared/stubborn")
    polite, _ = begun(app, "cancel-shared/nap")
    napping = app.launch("cancel-shared/nap", seconds=2)
    assert cancel(app, polite, 10)[-1]["payload"] == {"status": "cancelled"}
    assert cancel(app, stubborn, 0.3)[-1]["payload"] == {"status": "cancelled"}
    assert app.events(napping)[-1]["payload"] == {"status": "finished"}
    assert app.execute("cancel-shared/nap", seconds=0).status == "finished"


def test_what_has_ended_cannot_be_cancelled(app: Koco) -> None:
    """409, and nothing is added to its stream."""
    ended = app.execute("quick")
    with app.http() as client:
        answer = client.post(f"/v1/executions/{ended.fid}/cancel")
    assert answer.status_code == 409
    assert app.get_events(ended.fid) == ended.events


def test_shared_executions_keep_their_output_apart(koco: Koco) -> None:
    """Fifty at once in one process: each stream has its own lines only."""
    code = """
        import asyncio, logging, os

        async def talk(name: str):
            for number in range(5):
                print(name, number)
                await asyncio.to_thread(print, name, "thread", number)
                await asyncio.sleep(0.01)
            return os.getpid()
    """
    koco.deploy("talk", code, runner={"concurrency": 100, "max": 1})
    fids = {f"n{number}": koco.launch("talk/talk", name=f"n{number}") for number in range(50)}
    pids = set()
    for name, fid in fids.items():
        events = koco.events(fid)
        lines = [e["payload"] for e in events if e["kind"] == "stdout"]
        assert len(lines) == 10
        assert {line.split()[0] for line in lines} == {name}
        pids.add(events[-2]["payload"])
    assert len(pids) == 1
