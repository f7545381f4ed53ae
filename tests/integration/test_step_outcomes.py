"""Steps in real runners: their timeouts, their retries, and outcomes of all types."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Koco, eventually

CODE = """
    import asyncio, dataclasses, os, time
    from pathlib import Path
    import pydantic
    import ray
    import koco
    from koco import step

    class Report(pydantic.BaseModel):
        title: str

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int

    class OddError(Exception):
        def __init__(self, code, *, url):
            super().__init__(f"{code} from {url}")
            self.code, self.url = code, url

    @ray.remote(num_cpus=0.01)
    def work(path):
        while True:
            with open(path, "a") as file:
                file.write(".")
            time.sleep(0.05)

    @ray.remote(num_cpus=0.01)
    def warm():
        pass  # the first task waits for its process

    @step(timeout_s=10)
    async def slow(path):
        await koco.remote(work).remote(path)

    @step(timeout_s=10)
    def slow_sync(path):
        ray.get(work.remote(path))

    async def times_out(path: str, tracer):
        await warm.remote()
        try:
            await slow(path)
        except TimeoutError as exc:
            return str(exc)

    def times_out_sync(path: str, tracer):
        ray.get(warm.remote())
        try:
            slow_sync(path)
        except TimeoutError as exc:
            return str(exc)

    @step
    async def write(title):
        return [Report(title=title), Point(1), {1, 2}, (os.getpid(),)]

    @step(retries=1, backoff_s=0.1)
    async def fail():
        raise OddError(404, url="here")

    async def types(path: str, tracer):
        report, point, numbers, (pid,) = await write("a")
        try:
            await fail()
        except OddError as exc:
            told = [exc.code, exc.url, str(exc)]
        if not Path(path).exists():
            await tracer.result({"pid": pid})
            await asyncio.sleep(60)
        return [report.title, point == Point(1), sorted(numbers), pid, told]

    async def gives_up(path: str, tracer):
        def wait():
            while True:
                with open(path, "a") as file:
                    file.write(".")
                time.sleep(0.05)
        await tracer.step("wait", wait)
"""

NAMES = ("times_out", "times_out_sync", "types", "gives_up")


@pytest.fixture(scope="module")
def app(koco: Koco) -> Iterator[Koco]:
    flows = [
        {"name": each.replace("_", "-"), "entrypoint": f"outcomes_app:{each}", "durable": True}
        for each in NAMES
    ]
    yield koco.deploy("outcomes", CODE, flows=flows, runner={"max": 2, "min": 2})


def stops_growing(path: Path) -> bool:
    size = path.stat().st_size
    time.sleep(0.5)
    return size > 0 and path.stat().st_size == size


@pytest.mark.parametrize("flow", ["times-out", "times-out-sync"])
def test_timeout_ends_the_ray_tasks_of_the_step(app: Koco, flow: str, tmp_path: Path) -> None:
    """The execution goes on, and the task that the step has started does not."""
    path = tmp_path / "work"
    fid = app.launch(flow, path=str(path))
    [final] = [each["payload"] for each in app.events(fid) if each["kind"] == "final"]
    assert "took longer than 10 s" in final
    assert path.stat().st_size > 0
    eventually(lambda: stops_growing(path))


def test_outcomes_keep_their_types_in_another_process(app: Koco, tmp_path: Path) -> None:
    """Models, dataclasses, sets, tuples, and an exception whose constructor is odd."""
    path = tmp_path / "resumed"
    fid = app.launch("types", path=str(path))

    def result() -> Any:
        events = app.get_events(fid)
        return next((each["payload"] for each in events if each["kind"] == "result"), None)

    pid = eventually(result)["pid"]
    path.touch()
    os.kill(pid, signal.SIGKILL)
    [final] = [each["payload"] for each in app.events(fid) if each["kind"] == "final"]
    assert final == ["a", True, [1, 2], pid, [404, "here", "404 from here"]]


def test_cancelling_interrupts_the_thread_of_a_step(app: Koco, tmp_path: Path) -> None:
    """A plain function that an async flow calls as a step ends with the execution."""
    path = tmp_path / "thread"
    fid = app.launch("gives-up", path=str(path))
    eventually(lambda: path.exists() and path.stat().st_size > 2)
    with app.http() as client:
        assert client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": 60}).status_code == 202
    eventually(lambda: stops_growing(path))
