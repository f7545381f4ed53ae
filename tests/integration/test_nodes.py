"""The tracer on another node than the runner's: a second one, on this machine."""

from collections.abc import Iterator

import pytest

from tests.driver import Ended, Koco, koco_of_its_own

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
        [other] = [node for node in nodes if node != _node()]
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
        with koco.another_node():
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
