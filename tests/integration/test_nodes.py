"""Several nodes, on this machine: where runners go, what works there, and what a dead one ends."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.driver import Ended, Koco, eventually, koco_of_its_own

CODE = """
    import asyncio, threading
    from concurrent.futures import ThreadPoolExecutor
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def _methods_sync(tracer):
        tracer.debug_sync("debug", 1); tracer.warning_sync("warning")
        tracer.result_sync({"a": 1}); tracer.result_sync(1, 2); tracer.action_sync("act")
        tracer.markdown_sync("# m"); tracer.html_sync("<b>h</b>"); tracer.text_sync("t")

    async def _methods(tracer):
        await tracer.debug("debug", 1); await tracer.warning("warning")
        await tracer.result({"a": 1}); await tracer.result(1, 2); await tracer.action("act")
        await tracer.markdown("# m"); await tracer.html("<b>h</b>"); await tracer.text("t")

    def _count(tracer, name, number=50):
        for step in range(number):
            tracer.result_sync([name, step])

    def _node():
        return ray.get_runtime_context().get_node_id()

    def _elsewhere():
        # The runner may be on either node.
        nodes = [each["NodeID"] for each in ray.nodes() if each["Alive"]]
        other = next(node for node in nodes if node != _node())
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(other, soft=False)}

    @ray.remote(num_cpus=0)
    def _task(tracer, what):
        if what == "methods":
            _methods_sync(tracer)
        elif what == "awaited":
            asyncio.run(_methods(tracer))
        elif what == "threads":
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: _count(tracer, f"thread {n}"), range(4)))
        elif what == "nested":
            ray.get(_task.remote(tracer, "methods"))
        else:
            _count(tracer, what)
        return _node(), tracer.fid

    @ray.remote(num_cpus=0, max_concurrency=8)
    class _Actor:
        def __init__(self, tracer):
            self.tracer = tracer
        async def methods(self):
            await _methods(self.tracer)
            return _node(), self.tracer.fid
        async def count(self, name):
            for step in range(50):
                await self.tracer.result([name, step])
            return _node(), self.tracer.fid

    async def run(tracer, what: list[str] = (), actor: str = ""):
        await tracer.result("before")
        there = _elsewhere()
        pieces = [_task.options(**there).remote(tracer, each) for each in what]
        if actor:
            one = _Actor.options(**there).remote(tracer)
            pieces += [getattr(one, actor).remote(*((f"call {n}",) if actor == "count" else ()))
                       for n in range(4 if actor == "count" else 1)]
        nodes = await asyncio.gather(*pieces)
        await tracer.result("after")
        assert all(node != _node() for node, _ in nodes), "on the runner's node"
        assert {fid for _, fid in nodes} == {tracer.fid}
"""

BODIES = [
    {"type": kind, "body": body} for kind, body in [("markdown", "# m"), ("html", "<b>h</b>")]
]


@pytest.fixture(scope="module")
def app() -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        koco.up()
        with koco.another_node(resources={"special": 2, "pair": 1}, labels={"zone": "a"}):
            yield koco.deploy("nodes", CODE, runner={"max": 1})


def _check_methods(ended: Ended) -> None:
    assert ended.status == "finished", ended.events[-2]
    assert ended.of("debug") == ["debug 1"]
    assert ended.of("stderr") == ["warning"]
    assert ended.of("action") == ["act"]
    bodies = [*BODIES, {"type": "text", "body": "t"}]
    assert ended.of("result") == ["before", {"a": 1}, [1, 2], *bodies, "after"]


@pytest.mark.parametrize("what", ["methods", "awaited", "nested"])
def test_every_method_works_in_a_task_on_another_node(app: Koco, what: str) -> None:
    """Each method and its twin, in order, between what the flow wrote before and after."""
    _check_methods(app.execute("run", what=[what]))


def test_every_method_works_in_an_actor_on_another_node(app: Koco) -> None:
    """An actor that keeps the tracer."""
    _check_methods(app.execute("run", actor="methods"))


def test_each_producer_on_another_node_is_in_order(app: Koco) -> None:
    """Tasks, threads in a task and calls of an actor at the same time: none lost, none twice."""
    ended = app.execute("run", what=["task 1", "task 2", "threads"], actor="count")
    assert ended.status == "finished", ended.events[-2]
    results = [result for result in ended.of("result") if isinstance(result, list)]
    producers = {name for name, _ in results}
    assert len(producers) == 2 + 4 + 4
    for name in producers:
        assert [step for who, step in results if who == name] == list(range(50))


#: What a runner on another node does: a module of its bundle, files, and a task with the code.
PLACED = """
    import asyncio
    from pathlib import Path
    import ray

    def _here():
        return ray.get_runtime_context().get_node_id()

    @ray.remote(num_cpus=0, label_selector={"zone": "!a"})
    def _task(tracer):
        with tracer.fs_sync() as fs, fs.open("out/made.txt") as file:
            tracer.result_sync(file.read_all().decode())
        return _here()

    def where(tracer):
        Path("made.txt").write_text("made there")
        with tracer.fs_sync() as fs:
            fs.upload("made.txt")
        return [_here(), ray.get(_task.remote(tracer))]

    async def nap(s: float):
        await asyncio.sleep(s)
        return _here()
"""


def _node_with(app: Koco, resource: str) -> list[dict[str, Any]]:
    nodes = app.get("/v1/status")["ray"]["nodes"]
    return [node for node in nodes if node["alive"] and resource in node["resources"]]


def test_runners_go_where_their_manifest_says(app: Koco) -> None:
    """By resources and labels, with bundle, files and tasks; `koco status` shows what is left."""
    [special] = _node_with(app, "special")
    assert special["labels"]["zone"] == "a"
    runner = {
        "resources": {"CPU": 1, "memory_mb": 64, "special": 0.5},
        "labels": {"zone": "in(a, b)", "market": "!spot"},
    }
    placed = app.deploy("placed", PLACED, runner=runner)
    [special] = _node_with(app, "special")
    assert (special["free"]["special"], special["free"]["CPU"]) == (1.5, 1)
    out = app.run("status").ok().out
    assert "2 special (1.5 free)" in out
    assert "zone=a" in out
    ended = placed.execute("where")
    assert ended.status == "finished", ended.events[-2]
    here, there = ended.result
    assert here == special["id"] != there
    assert ended.of("result") == ["made there"], "written there, read by a task elsewhere"


def test_that_no_node_could_take_a_runner_is_told(app: Koco) -> None:
    """A warning in the plan, the reason where a deploy is given up, and no refusal."""
    root = app.project("greedy", PLACED, runner={"resources": {"GPU": 4}})
    said = "no node has 4 GPU (the most is 0 GPU)"
    planned = app.run("plan", cwd=root)
    assert said in planned.out + planned.err
    done = app.run("deploy", "--timeout", "2", cwd=root)
    assert done.code == 124, done
    assert f"the control plane goes on with it: {said}" in done.err


def test_a_node_that_dies_ends_its_executions_and_no_others(app: Koco) -> None:
    """With the cause, before Ray itself has noticed; what was queued runs elsewhere."""
    with app.another_node(resources={"pair": 1}) as node:
        runner = {"resources": {"pair": 1}, "min": 2, "max": 2}
        mortal = app.deploy("mortal", PLACED, runner=runner)
        eventually(lambda: _runners(app, "mortal") == 2)
        fids = [mortal.launch("nap", s=8) for _ in range(3)]
        eventually(lambda: sorted(_statuses(app, fids)) == ["queued", "running", "running"])
        began = time.monotonic()
        parent = psutil.Process(node.pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: "error" in _statuses(app, fids), within_s=12)
        print(f"settled {time.monotonic() - began:.1f} s after the node died")
        ends = [Ended(fid, app.events(fid)) for fid in fids]
        assert sorted(ended.status for ended in ends) == ["error", "finished", "finished"]
        [lost] = [ended for ended in ends if ended.status == "error"]
        assert "its node was lost" in lost.error["message"]
        [special] = _node_with(app, "special")
        assert {ended.result for ended in ends if ended.status == "finished"} == {special["id"]}


def _runners(app: Koco, name: str) -> int:
    services = app.get("/v1/status")["services"]
    return sum(each["runners"] for each in services if each["name"] == name)


def _statuses(app: Koco, fids: list[str]) -> list[str]:
    return [app.get(f"/v1/executions/{fid}")["status"] for fid in fids]
