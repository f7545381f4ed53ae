"""Entrypoints on real runners: calling, output, tracer, tasks, errors."""

import os
import time

import pytest

from tests.support.driver import Koco, calm_s, eventually, kill9

CODE = """
    import asyncio, dataclasses, datetime, enum, logging, os, subprocess, sys, threading, time
    import ray
    from koco import Tracer, response

    def plain(inputs, tracer):
        tracer.debug_sync("in", "a", "thread")
        return {"got": inputs, "thread": threading.current_thread().name}

    async def coroutine(inputs: dict, tracer: Tracer):
        await tracer.debug("awaited")
        return [inputs, tracer.fid]

    def nothing():
        return None

    def typed(name: str, count: int = 2, ratio: float = 0.5, on: bool = False,
              day: datetime.date | None = None, words: list[str] = ()):
        return [type(value).__name__ for value in (name, count, ratio, on, day, words)]

    @dataclasses.dataclass
    class _Order:
        item: str
        amount: int = 1

    def order(inputs: _Order):
        return f"{type(inputs).__name__} {inputs.amount} x {inputs.item}"

    def output(tracer):
        print("printed")
        print("printed to stderr", file=sys.stderr)
        logging.getLogger("app").warning("logged")
        subprocess.run(["sh", "-c", "echo from sh; echo sh err >&2"])
        os.write(1, b"raw\\n")
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start(); thread.join()
        print("without newline", end="")

    def methods(tracer):
        tracer.debug_sync("debug", 1)
        try:
            1 / 0
        except ZeroDivisionError:
            tracer.warning_sync("careful", exc_info=True)
        tracer.result_sync({"a": 1}); tracer.result_sync(1, 2)
        tracer.action_sync("act")
        tracer.markdown_sync("# m"); tracer.html_sync("<b>h</b>"); tracer.text_sync("t")
        return response.Markdown("**end**")

    async def methods_async(tracer):
        await tracer.debug("debug", 1)
        try:
            1 / 0
        except ZeroDivisionError:
            await tracer.warning("careful", exc_info=True)
        await tracer.result({"a": 1}); await tracer.result(1, 2)
        await tracer.action("act")
        await tracer.markdown("# m"); await tracer.html("<b>h</b>"); await tracer.text("t")
        return response.Markdown("**end**")

    def strange(tracer):
        class _Odd:
            def __repr__(self): return "<odd>"
        class _Worse:
            def __repr__(self): raise RuntimeError("no repr")
        tracer.result_sync(_Odd()); tracer.result_sync(_Worse()); tracer.result_sync({1, 2})
        tracer.result_sync({("a", 1): 2}); tracer.result_sync("\\ud800")
        loop = []; loop.append(loop); tracer.result_sync(loop)
        return _Odd()

    def raises():
        def deeper():
            raise KeyError("what")
        try:
            deeper()
        except KeyError as exc:
            raise ValueError("no good") from exc

    def exits():
        sys.exit(3)

    async def exits_async():
        raise SystemExit("leaving")

    @ray.remote
    def _piece(number, tracer):
        for step in range(3):
            tracer.result_sync([number, step])
        return number

    @ray.remote
    class _Counter:
        async def count(self, tracer):
            await tracer.result("from an actor")
            return 1

    async def tasks(tracer):
        pieces = await asyncio.gather(*[_piece.remote(number, tracer) for number in range(3)])
        counter = _Counter.remote()
        return sum(pieces) + await counter.count.remote(tracer)

    def burst(tracer, count: int):
        for number in range(count):
            tracer.result_sync(number)
        return count

    async def blocks(tracer):
        await tracer.result("before")
        time.sleep(1.0)
        return time.time()

    def pid(tracer, seconds: float = 0):
        tracer.result_sync(os.getpid())
        time.sleep(seconds)
        return os.getpid()

    def environment():
        return [os.environ.get("GREETING"), os.environ.get("KOCO_SERVICE")]
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy(
        "runner", CODE, runtime={"env": {"GREETING": "hi"}}, runner={"min": 1, "max": 3}
    )


def test_plain_and_async_entrypoints_get_what_they_name(app: Koco) -> None:
    """`inputs` and `tracer` by name; the return value is the `final` event."""
    plain = app.execute("plain", a=1)
    assert plain.status == "finished"
    assert plain.result["got"] == {"a": 1}
    assert plain.of("debug") == ["in a thread"]
    coroutine = app.execute("coroutine", b=[2])
    assert coroutine.result == [{"b": [2]}, coroutine.fid]
    assert app.execute("nothing").result is None


def test_the_stream_is_gapless_and_ends_with_the_final_status(app: Koco) -> None:
    """Events are numbered from 1, the last is the status, the one before it the outcome."""
    events = app.execute("coroutine").events
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["kind"] for event in events]
    assert kinds == ["meta", "inputs", *["status"] * 3, "debug", "final", "status"]
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)


def test_inputs_arrive_typed(app: Koco) -> None:
    """Values pass the form made from the signature: strings become what the hints say."""
    given = {"name": "x", "count": "3", "ratio": "1.5", "on": "true", "day": "2026-01-31"}
    types = app.execute("typed", **given, words=["a"]).result
    assert types == ["str", "int", "float", "bool", "date", "list"]
    assert app.execute("order", item="tea", amount="2").result == "_Order 2 x tea"


def test_output_of_every_sort_is_the_executions_own(app: Koco) -> None:
    """print, stderr, logging, subprocesses, descriptors and threads become events."""
    ended = app.execute("output")
    out = ["printed", "from sh", "raw", "from a thread", "without newline"]
    assert sorted(ended.of("stdout")) == sorted(out)
    assert sorted(ended.of("stderr")) == sorted(["printed to stderr", "logged", "sh err"])


@pytest.mark.parametrize("flow", ["methods", "methods-async"])
def test_every_tracer_method(app: Koco, flow: str) -> None:
    """Each method and its twin writes its kind, in order."""
    ended = app.execute(flow)
    assert ended.of("debug") == ["debug 1"]
    [warning] = ended.of("stderr")
    assert warning.startswith("careful\nTraceback")
    assert "ZeroDivisionError" in warning
    assert ended.of("action") == ["act"]
    assert ended.of("result") == [
        {"a": 1},
        [1, 2],
        {"type": "markdown", "body": "# m"},
        {"type": "html", "body": "<b>h</b>"},
        {"type": "text", "body": "t"},
    ]
    assert ended.result == {"type": "markdown", "body": "**end**"}


def test_what_is_no_json_is_kept_as_its_repr(app: Koco) -> None:
    """Nothing that a flow may pass fails it; the event says what it was."""
    ended = app.execute("strange")
    assert ended.status == "finished"
    assert ended.result["$repr"] == "<odd>"
    odd, worse, numbers, *_ = ended.of("result")
    assert odd["$type"].endswith("_Odd")
    assert "RuntimeError" in worse["$repr"]
    assert numbers == [1, 2]
    assert len(ended.of("result")) == 6


def test_an_exception_is_an_error_with_the_users_frames(app: Koco) -> None:
    """The traceback has the user's frames and the cause, and none of koco's."""
    ended = app.execute("raises")
    assert ended.status == "error"
    assert (ended.error["type"], ended.error["message"]) == ("ValueError", "no good")
    assert 'File "runner_app.py", line' in ended.error["traceback"]
    assert "KeyError: 'what'" in ended.error["traceback"]
    assert "koco/runner" not in ended.error["traceback"]
    assert app.get(f"/v1/executions/{ended.fid}")["error"]["type"] == "ValueError"


@pytest.mark.parametrize("flow", ["exits", "exits-async"])
def test_sys_exit_ends_the_flow_not_the_runner(app: Koco, flow: str) -> None:
    """SystemExit is an error of that execution; the process serves the next one."""
    before = app.execute("pid").result
    assert app.execute(flow).error["type"] == "SystemExit"
    assert app.execute("pid").result == before


def test_the_tracer_works_in_ray_tasks_and_actors(app: Koco) -> None:
    """Every event that a task wrote before it returned is in the stream, in its order."""
    ended = app.execute("tasks")
    assert ended.result == 4
    results = ended.of("result")
    assert "from an actor" in results
    for number in range(3):
        steps = [r[1] for r in results if isinstance(r, list) and r[0] == number]
        assert steps == [0, 1, 2]


def test_a_burst_arrives_whole(app: Koco) -> None:
    """30,000 events, once each, in order."""
    ended = app.execute("burst", count=30_000)
    assert ended.of("result") == list(range(30_000))


def test_events_leave_while_a_flow_blocks_its_loop(app: Koco) -> None:
    """A coroutine that blocks stops neither its events nor the answers of its runner."""
    fid = app.launch("blocks")
    seen: list[float] = []

    def before() -> bool:
        events = app.get_events(fid)
        if any(event["payload"] == "before" for event in events):
            seen.append(time.time())
        return bool(seen)

    eventually(before)
    assert seen[0] < app.events(fid)[-2]["payload"], "the event came only after the block"


def test_the_environment_of_the_manifest_is_there(app: Koco) -> None:
    """`runtime.env` and koco's own variables are set."""
    assert app.execute("environment").result == ["hi", "runner"]


def test_a_killed_runner_settles_its_execution_with_the_cause(app: Koco) -> None:
    """kill -9: status `error` within seconds, saying so; the next launch finds a runner."""
    fid = app.launch("pid", seconds=120)
    pid = eventually(
        lambda: next((e["payload"] for e in app.get_events(fid) if e["kind"] == "result"), None)
    )
    began = calm_s()
    kill9(pid)
    events = app.events(fid)
    assert calm_s() - began < 5
    assert events[-1]["payload"] == {"status": "error"}
    error = events[-2]["payload"]
    assert error["type"] == "RunnerDied"
    assert str(pid) in error["message"]
    assert app.execute("pid").result != pid


def test_executions_in_line_run_when_there_is_room(app: Koco) -> None:
    """More launches than runners may hold: all of them run, none more than `max` at once."""
    fids = [app.launch("pid", seconds=0.3) for _ in range(8)]
    pids = {app.events(fid)[-2]["payload"] for fid in fids}
    assert 1 <= len(pids) <= 3
    assert os.getpid() not in pids


NICE = """
    import os, threading
    import ray

    def _nice():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def in_loop():
        return [_nice(), os.getpriority(os.PRIO_PROCESS, 0)]

    def in_thread():
        work = ray.remote(num_cpus=0)(_nice)
        actor = ray.remote(num_cpus=0)(Actor).remote()
        child = int(os.popen("nice").read())
        return [_nice(), ray.get(work.remote()), ray.get(actor.nice.remote()), child]

    class Actor:
        async def nice(self):
            return _nice()
"""


def test_flows_have_a_lower_priority_than_the_control_plane(koco: Koco) -> None:
    """On a busy machine, the control plane gets the processor first."""
    flows = koco.deploy("nice", NICE)
    assert os.getpriority(os.PRIO_PROCESS, koco.control_pid()) == 0
    assert flows.execute("in-loop").result == [15, 15]
    assert flows.execute("in-thread").result == [15, 15, 15, 15]
