"""Ray tasks and actors of a flow: they end with their execution, and their output is its own."""

import time
from pathlib import Path

import pytest

from tests.support.driver import Ended, Koco, calm_s, eventually

CODE = '''
    import asyncio, logging, os, signal, subprocess, sys, threading, time
    import koco, ray
    from ray.util.placement_group import placement_group

    KEPT = []

    def _nap(tracer, what):
        tracer.result_sync({what: os.getpid()})
        time.sleep(300)

    @ray.remote(num_cpus=0)
    def sleeping(tracer):
        _nap(tracer, "sleeping")

    @ray.remote(num_cpus=0)
    def deaf(tracer, what="deaf"):
        tracer.result_sync({what: os.getpid()})
        while True:
            try:
                time.sleep(0.1)
            except BaseException:
                pass

    @ray.remote(num_cpus=0)
    def stopped(tracer):
        tracer.result_sync({"stopped": os.getpid()})
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(300)

    @ray.remote(num_cpus=0)
    def parent(tracer):
        """Starts what is to be found though it is gone itself."""
        KEPT.append(deaf.remote(tracer, "left by a task"))
        KEPT.append(Worker.remote(tracer, "actor of a task"))

    @ray.remote(num_cpus=0)
    def nesting(tracer):
        KEPT.append(deaf.remote(tracer, "nested"))
        _nap(tracer, "nesting")

    @ray.remote(num_cpus=0)
    class Worker:
        def __init__(self, tracer, what):
            tracer.result_sync({what: os.getpid()})

        def pid(self):
            return os.getpid()

        def work(self):
            time.sleep(300)

    def _start(tracer, also=()):
        for each in (sleeping, deaf, nesting, *also):
            each.remote(tracer)
        KEPT.append(Worker.remote(tracer, "kept actor"))
        Worker.remote(tracer, "calling actor").work.remote()

    async def waits(tracer):
        _start(tracer, (stopped, parent))
        placement_group([{"CPU": 1}])
        await asyncio.sleep(300)

    def blocks(tracer):
        ray.get([deaf.remote(tracer, "awaited")])

    def ends(tracer, how, until):
        KEPT.clear()
        _start(tracer, (parent,))
        placement_group([{"CPU": 1}])
        while not os.path.exists(until):
            time.sleep(0.05)
        if how == "error":
            raise ValueError("on purpose")

    def cached(tracer):
        if not KEPT:
            KEPT.append(Worker.remote(tracer, "cached"))
        return ray.get(KEPT[0].pid.remote())

    @ray.remote(num_cpus=0)
    def count(tracer, path):
        """Say something in each way that there is."""
        print("reading", path)
        print("a warning", file=sys.stderr)
        tracer.debug_sync("between")
        logging.getLogger("count").warning("logged")
        subprocess.run("echo from a subprocess", shell=True, check=True)
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        print("no newline", end="")
        return path

    @ray.remote(num_cpus=0)
    def plain(number):
        print("plain", number)
        return ray.get(koco.remote(inner).options(name="renamed").remote(number + 1))

    def inner(number):
        print("inner", number)
        return number

    @ray.remote(num_cpus=0)
    def without():
        print("nobody reads this")

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self, tracer=None, start=0):
            print("counting from", start)
            self.count = start

        def add(self, by):
            self.count += by
            print("now", self.count)
            return self.count

    @ray.remote(num_cpus=0)
    class Talker:
        """Its calls share one process and one loop."""
        def __init__(self):
            print("nobody reads this either")

        async def say(self, word, tracer=None):
            print("about to say", word)
            await asyncio.sleep(0.05)
            print("said", word)

        async def count(self, tracer, to):
            for each in range(to):
                print("at", each)
                yield each

    async def talks(tracer: koco.Tracer):
        talker = Talker.remote()
        await asyncio.gather(*[talker.say.remote(each, tracer) for each in "ab"])
        await talker.say.remote("c", tracer=tracer)
        await talker.say.remote("nothing")
        async for each in talker.count.options(num_returns="streaming").remote(tracer, 2):
            await each

    async def prints(tracer: koco.Tracer):
        await koco.remote(count).remote("a.txt")
        await count.remote(tracer, "b.txt")
        await without.remote()
        assert await koco.remote(plain).remote(1) == 2
        counter = koco.remote(Counter).options(max_concurrency=1).remote(start=3)
        await counter.add.remote(2)
        again = koco.remote(Counter).remote()
        await again.__ray_ready__.remote()
        print("the flow's own")

    @ray.remote(num_cpus=0)
    def lines(tracer, number):
        began = time.monotonic()
        for each in range(number):
            print("line", each)
        return time.monotonic() - began

    def many(tracer, number: int):
        ray.get(koco.remote(lines).remote(1))  # starts its process
        began = time.monotonic()
        ray.get(koco.remote(lines).remote(number))
        took = time.monotonic() - began
        for _ in range(number // 100):
            ray.get(koco.remote(lines).remote(0))
        return took / (time.monotonic() - began - took)

    class TooLate(Exception):
        """Ray can pickle it, and cannot load it."""
        def __init__(self, days, hours):
            super().__init__(f"by {days} days and {hours} hours")

    def _extract(how):
        if how == "own class":
            raise TooLate(3, 2)
        raise ValueError("no amounts")

    async def reads(how: str):
        await koco.remote(_extract).remote(how)

    def blocks_on(how: str):
        ray.get(ray.remote(_extract).remote(how))
'''

#: What `waits` starts, each of which says its process.
WAITING = {
    "sleeping", "deaf", "nesting", "nested", "left by a task", "actor of a task", "kept actor",
    "calling actor",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy("ray-tasks", CODE, runner={"min": 1, "max": 2})


def _pids(koco: Koco, fid: str, names: set[str]) -> dict[str, int]:
    """Return the processes that an execution's tasks and actors have told, once all have."""

    def told() -> dict[str, int]:
        found: dict[str, int] = {}
        for event in koco.get_events(fid, kind="result"):
            found |= event["payload"]
        return found if names <= set(found) else {}

    return eventually(told)


def _at_work(pids: dict[str, int]) -> list[str]:
    """Return those of the processes that are there and run a task or an actor."""
    found = []
    for what, pid in pids.items():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        if title and not title.startswith(b"ray::IDLE"):
            found.append(what)
    return found


def _ended_within(pids: dict[str, int], seconds: float) -> None:
    began = calm_s()
    while left := _at_work(pids):
        assert calm_s() - began < seconds, left
        time.sleep(0.1)


def _free(koco: Koco) -> float:
    (node,) = koco.get("/v1/status")["ray"]["nodes"]
    return float(node["free"].get("CPU", 0))


def _said(ended: Ended, task: str | None) -> list[str]:
    """Return what a task printed; with None, what the flow itself did."""
    kinds = ("stdout", "stderr", "debug")
    return [
        event["payload"]
        for event in ended.events
        if event["kind"] in kinds and event.get("task") == task
    ]


def test_what_tasks_print_is_in_the_stream(app: Koco) -> None:
    """Through `koco.remote`, or where they were handed the tracer; each line with its task."""
    ended = app.execute("prints")
    assert ended.status == "finished", ended.events[-2:]
    told = [
        "reading {}", "a warning", "logged", "from a subprocess", "from a thread", "no newline"
    ]  # fmt: skip
    expected = [line.format(path) for path in ("a.txt", "b.txt") for line in told]
    assert _said(ended, "count") == expected
    assert _said(ended, None) == ["between", "between", "the flow's own"]
    assert _said(ended, "plain") == ["plain 1"]
    assert _said(ended, "renamed") == ["inner 2"]
    assert _said(ended, "Counter") == ["counting from 3", "now 5", "counting from 0"]
    order = [event["payload"] for event in ended.events if event["kind"] in ("stdout", "debug")]
    assert order.index("reading a.txt") < order.index("between") < order.index("from a thread")
    text = app.run("logs", ended.fid).ok().out
    assert "[count] reading a.txt\n" in text
    assert "\nthe flow's own\n" in text


def test_what_an_async_actors_methods_print_is_their_callers(app: Koco) -> None:
    """Each call that was handed the tracer, and no other of the same process."""
    ended = app.execute("talks")
    assert ended.status == "finished", ended.events[-2:]
    said = _said(ended, "Talker.say")
    expected = [f"{what} {each}" for what in ("about to say", "said") for each in "abc"]
    assert sorted(said) == expected
    assert said[-2:] == ["about to say c", "said c"]
    assert _said(ended, "Talker.count") == ["at 0", "at 1"]


def test_ten_thousand_printed_lines_are_no_ten_thousand_calls(app: Koco) -> None:
    """They take a fraction of the time of that many calls, of which a hundredth is timed."""
    ended = app.execute("many", number=10_000)
    assert len(_said(ended, "lines")) == 10_001
    assert ended.result < 25


def test_cancelling_ends_all_that_a_flow_has_started(app: Koco) -> None:
    """Whether it sleeps, ignores its cancellation, is stopped, or was started by a task."""
    fid = app.launch("waits")
    pids = _pids(app, fid, WAITING | {"stopped"})
    app.run("cancel", fid, "--wait").ok()
    _ended_within(pids, 10)
    eventually(lambda: _free(app) == 2, within_s=5)


def test_cancelling_reaches_a_flow_that_waits_in_ray_get(app: Koco) -> None:
    """Its thread hears nothing in there: its task is cancelled, and the flow ends with it."""
    fid = app.launch("blocks")
    pids = _pids(app, fid, {"awaited"})
    before = calm_s()
    app.run("cancel", fid, "--grace", "30", "--wait").ok()
    assert calm_s() - before < 15
    _ended_within(pids, 10)


@pytest.mark.parametrize("how", ["error", "finished"])
def test_the_end_of_a_flow_is_that_of_its_tasks(app: Koco, how: str, tmp_path: Path) -> None:
    """Whatever its outcome; after one that is good, an actor stays that its module has kept."""
    fid = app.launch("ends", how=how, until=str(tmp_path / "end"))
    pids = _pids(app, fid, WAITING)
    (tmp_path / "end").touch()
    assert Ended(fid, app.events(fid)).status == how
    kept = {"kept actor": pids.pop("kept actor")}
    _ended_within(pids if how == "finished" else pids | kept, 10)
    assert bool(_at_work(kept)) == (how == "finished")
    eventually(lambda: _free(app) == 2, within_s=5)

    def is_told() -> bool:
        return fid in [each["fid"] for each in app.get("/v1/status")["left"]]

    eventually(lambda: is_told() == (how == "finished"), within_s=15)


def test_an_actor_that_a_module_keeps_is_there_for_the_next_execution(app: Koco) -> None:
    first = app.execute("cached").result
    time.sleep(1)
    assert app.execute("cached").result == first


@pytest.mark.parametrize("flow", ["reads", "blocks-on"])
@pytest.mark.parametrize(
    ("how", "error", "said"),
    [("plain", "ValueError", "no amounts"), ("own class", "TooLate", "by 3 days and 2 hours")],
)
def test_the_error_of_a_task_is_the_author_s_own(
    app: Koco, flow: str, how: str, error: str, said: str
) -> None:
    """As from a plain function: type, message, and only the frames of the author's files."""
    ended = app.execute(flow, how=how)
    assert (ended.error["type"], ended.error["message"]) == (error, said)
    text = ended.error["traceback"]
    frames = [line for line in text.splitlines() if line.startswith("  File ")]
    assert [line.rpartition(" in ")[2].replace("_", "-") for line in frames] == [
        "-extract",
        flow,
    ], text
    assert all('File "ray_tasks_app.py"' in line for line in frames), text
