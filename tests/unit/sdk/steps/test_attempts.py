"""Attempts of a step: retries, timeouts, and what is recorded of them."""

import asyncio
import dataclasses
import pickle
import threading
import time
import traceback
from typing import Any

import msgspec
import pytest

from koco import StepResultError, Tracer, step
from koco.errors import UsageError
from koco.events.steps import Past, StepStatus
from koco.sdk.in_memory.records import past_step
from koco.sdk.steps import attempts, outcomes, places, threads
from tests.support.journals import FID, Killed, MemorySink, play

RETRYING, ERROR, FINISHED = StepStatus.RETRYING, StepStatus.ERROR, StepStatus.FINISHED


class Flaky:
    """Fails a number of times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0
        self.at: list[float] = []

    def __call__(self) -> str:
        self.calls += 1
        self.at.append(time.monotonic())
        if self.calls <= self.failures:
            raise ValueError(f"failure {self.calls}")
        return "done"

    async def later(self) -> str:
        return self()


def statuses(sink: MemorySink) -> list[tuple[Any, ...]]:
    return [(each.status, each.attempt, each.failures) for each in sink.records]


def either(flaky: Flaky, **options: Any) -> list[Any]:
    """Return flows that call a step, async and not."""

    @step(name="flaky", **options)
    async def later() -> str:
        return flaky()

    async def flow(tracer: Tracer) -> Any:
        return await later()

    now = step(name="flaky", **options)(flaky)
    return [flow, lambda tracer: now()]


@pytest.mark.parametrize("which", [0, 1])
def test_repeats_failed_attempts(which: int) -> None:
    """Each failure is recorded before the pause, which doubles."""
    flaky = Flaky(2)
    sink = MemorySink()
    flow = either(flaky, retries=3, backoff_s=0.05)[which]
    assert play(flow, sink) == "done"
    assert statuses(sink) == [(RETRYING, 1, 1), (RETRYING, 2, 2), (FINISHED, 3, 2)]
    first, second, third = flaky.at
    assert second - first >= 0.05
    assert third - second >= 0.1
    assert sink.records[0].preview == "ValueError: failure 1"
    assert b'"error":"ValueError: failure 1"' in sink.events[0]
    assert b'"error"' not in sink.events[2]


@pytest.mark.parametrize("which", [0, 1])
def test_raises_the_last_error(which: int) -> None:
    """When no attempt is left, its error is the outcome, and is raised again on replay."""
    flaky = Flaky(9)
    sink = MemorySink()
    flow = either(flaky, retries=1, backoff_s=0)[which]
    with pytest.raises(ValueError, match="failure 2"):
        play(flow, sink)
    assert statuses(sink) == [(RETRYING, 1, 1), (ERROR, 2, 2)]
    with pytest.raises(ValueError, match="failure 2") as caught:
        play(flow, past=sink.past())
    [note] = caught.value.__notes__
    assert "later" in note or "__call__" in note
    assert flaky.calls == 2


def divide() -> None:
    try:
        1 / 0  # noqa: B018 - it raises
    except ZeroDivisionError as exc:
        raise ValueError("outer") from exc


@step
async def fails() -> None:
    divide()


@step
def fails_sync() -> None:
    try:
        divide()
    except ValueError:
        raise KeyError("last")  # noqa: B904 - so it has a context and no cause


def test_a_flow_gets_the_same_exception_in_each_run() -> None:
    """With its causes, and with the same text."""

    async def flow(tracer: Tracer) -> list[Any]:
        seen: list[Any] = []
        for failing in (fails, fails_sync, lambda: tracer.step("b", divide)):
            try:
                if (awaitable := failing()) is not None:
                    await awaitable
            except Exception as exc:  # noqa: BLE001 - the point
                seen.append((type(exc.__cause__), type(exc.__context__), traceback.format_exc()))
        try:
            raise OSError("the flow's own")
        except OSError:
            try:
                await fails()
            except ValueError as exc:
                seen.append((type(exc.__cause__), type(exc.__context__), traceback.format_exc()))
        return seen

    sink = MemorySink()
    seen = play(flow, sink)
    assert play(flow, past=sink.past()) == seen
    kinds = [each[:2] for each in seen]
    divided = (ZeroDivisionError, ZeroDivisionError)
    assert kinds == [divided, (type(None), ValueError), divided, divided]
    assert all("in divide" in each[2] for each in seen)
    assert "ZeroDivisionError: division by zero" in seen[1][2]


@dataclasses.dataclass
class Cached:
    x: int

    def __reduce__(self) -> Any:
        return Cached, (self.x + 1,)


def test_a_flow_gets_the_same_result_in_each_run() -> None:
    """The recorded one: not the object that the step has returned."""
    kept: list[Any] = [[1, {"a": 2}]]

    @step
    def give() -> Any:
        return kept[0]

    async def flow(tracer: Tracer) -> Any:
        found = [await tracer.step("a", lambda: Cached(1)), give()]
        kept[0].append(3)
        return found

    sink = MemorySink()
    found = play(flow, sink)
    assert found == [Cached(2), [1, {"a": 2}]]
    assert play(flow, past=sink.past()) == found


@pytest.mark.parametrize("which", [0, 1])
def test_attempts_go_on_after_a_death(which: int) -> None:
    """Failures of the past count against `retries`; the attempt that died does not."""
    flaky = Flaky(9)
    sink = MemorySink()
    original, sink.commit = sink.commit, dying(sink, after=1)  # type: ignore[method-assign]
    flow = either(flaky, retries=2, backoff_s=0)[which]
    with pytest.raises(Killed):
        play(flow, sink)
    assert statuses(sink) == [(RETRYING, 1, 1)]
    again = MemorySink()
    with pytest.raises(ValueError, match="failure"):
        play(flow, again, sink.past())
    assert statuses(again) == [(RETRYING, 2, 2), (ERROR, 3, 3)]
    assert original


def dying(sink: MemorySink, *, after: int) -> Any:
    def commit(fid: str, event: bytes) -> None:
        if len(sink.records) >= after:
            raise Killed
        sink.record(fid, event)

    return commit


def test_pause_is_an_hour_at_most() -> None:
    """It doubles each time, and never overflows."""

    def flow(tracer: Tracer) -> Any:
        journal = places.here.get().tree  # type: ignore[union-attr]
        call = journal.place("step", "a")  # type: ignore[attr-defined]
        running = attempts._Step(call, attempts.Options(retries=10_000, backoff_s=1.0))
        found = []
        for _ in range(5000):
            running.settle(None, ValueError())
            found.append(running.pause_s)
        assert found[:4] == [1.0, 2.0, 4.0, 8.0]
        assert set(found[12:]) == {3600.0}

    play(flow)


def test_result_that_cannot_be_kept_is_the_steps_error() -> None:
    """It is raised at once and recorded, and not tried again."""
    calls = []

    @step(retries=3)
    def connect() -> Any:
        calls.append(1)
        return threading.Lock()

    sink = MemorySink()
    for past in (None, sink):
        with pytest.raises(StepResultError, match="connect:0"):
            play(lambda tracer: connect(), sink, past and past.past())
    assert len(calls) == 1
    assert statuses(sink) == [(ERROR, 1, 1)]


def test_large_results_are_refused() -> None:
    """The error says the size and the setting."""

    @step
    def large() -> str:
        return "x" * 2000

    with pytest.raises(StepResultError, match=r"2 kB.*1000 B") as caught:
        play(lambda tracer: large(), step_bytes=1000)
    assert "max_step_mb" in str(caught.value.hint)


def test_large_results_are_asked_for_on_replay() -> None:
    """A result that the history leaves out comes from the control plane when it is needed."""

    @step
    async def large() -> str:
        raise AssertionError

    sink = MemorySink()
    first = MemorySink()

    async def other(tracer: Tracer) -> Any:
        return await tracer.step("large", lambda: "x" * 99)

    assert play(other, first) == "x" * 99
    (kept,) = first.past().steps
    sink.results = {"large:0": kept.result or b""}
    import msgspec

    past = msgspec.structs.replace(
        first.past(), steps=[msgspec.structs.replace(kept, result=None, is_apart=True)]
    )

    async def flow(tracer: Tracer) -> Any:
        return await large()

    assert play(flow, sink, past) == "x" * 99
    assert play(lambda tracer: step(name="large")(lambda: 1)(), sink, past) == "x" * 99


def test_async_timeout_cancels_the_call() -> None:
    """The error names the step; a `TimeoutError` of the function's own stays as it is."""
    seen = []

    @step(timeout_s=0.05)
    async def slow() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @step(timeout_s=9)
    async def own() -> None:
        raise TimeoutError("mine")

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError, match=r"step 'slow' took longer than 0.05 s"):
            await slow()
        with pytest.raises(TimeoutError, match="mine"):
            await own()

    sink = MemorySink()
    play(flow, sink)
    assert seen == ["cancelled"]
    assert statuses(sink) == [(ERROR, 1, 1), (ERROR, 1, 1)]


def test_async_step_that_blocks_fails_when_it_returns() -> None:
    """Nothing can end it before; but its result comes too late."""

    @step(timeout_s=0.05)
    async def blocks() -> int:
        time.sleep(0.2)  # noqa: ASYNC251 - the point
        return 2

    async def flow(tracer: Tracer) -> Any:
        return await blocks()

    with pytest.raises(TimeoutError, match=r"took longer than 0.05 s.*blocked"):
        play(flow, MemorySink())


def test_a_step_that_changes_its_arguments_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Once for each step, when it really runs: on a replay, the change would be missing."""

    @step
    def add(items: list[int], number: int) -> None:
        items.append(number)

    @step
    async def put(into: dict[str, int]) -> None:
        into["a"] = 1

    @step
    def count(items: list[int], of: dict[str, int], at: set[int], tracer: Tracer) -> int:
        return len(items)

    async def flow(tracer: Tracer) -> Any:
        add([], 1)
        add([], 2)
        await put(into={})
        return count([1], {"a": 1}, {1, 2}, tracer)

    sink = MemorySink()
    play(flow, sink)
    told = capsys.readouterr().err.splitlines()
    assert [each.split("'")[1] for each in told] == ["add:0", "put:0"]
    assert "has changed its arguments" in told[0]
    play(flow, past=sink.past())
    assert capsys.readouterr().err == ""


def test_timeout_of_a_function_interrupts_its_thread() -> None:
    """It runs in a thread of its own, and the caller goes on in time."""
    ended = threading.Event()

    @step(timeout_s=0.1)
    def slow() -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.set()

    @step(timeout_s=9)
    def quick(value: int) -> tuple[int, Any]:
        return value, places.attempt_here()

    def flow(tracer: Tracer) -> Any:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"step 'slow' took longer than 0.1 s"):
            slow()
        assert time.monotonic() - began < 1
        assert ended.wait(2)
        return tracer.step_sync("key", lambda: tracer.step_key)

    assert play(flow) == f"{FID}/key:0"


def test_thread_of_a_step_belongs_to_it() -> None:
    """The context of the caller is there, and values and errors come back."""

    @step(timeout_s=5)
    def quick(tracer: Tracer) -> list[Any]:
        return [tracer.step_key, threading.current_thread().name]

    @step(timeout_s=5)
    def bad() -> None:
        raise KeyError("x")

    def flow(tracer: Tracer) -> Any:
        with pytest.raises(KeyError):
            bad()
        return quick(tracer)

    assert play(flow) == [f"{FID}/quick:0", "step-quick"]


def test_timeout_ends_the_work_that_the_attempt_has_started() -> None:
    """Whatever has registered with the attempt: Ray tasks."""
    ended = []

    @step(timeout_s=0.05, retries=1, backoff_s=0)
    async def slow() -> None:
        attempt = places.attempt_here()
        assert attempt is not None
        attempt.end_work = lambda: ended.append(attempt.key)
        await asyncio.sleep(9)

    @step(timeout_s=0.05)
    def slow_too() -> None:
        attempt = places.attempt_here()
        assert attempt is not None
        attempt.end_work = lambda: ended.append(attempt.key)
        threads.pause(9)

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError):
            await slow()
        with pytest.raises(TimeoutError):
            slow_too()

    play(flow)
    assert ended == ["slow:0", "slow:0", "slow_too:0"]


def test_cancellation_is_never_an_outcome() -> None:
    """A step that is cancelled has none, and runs again on replay."""

    @step
    async def slow() -> None:
        await asyncio.sleep(9)

    @step(name="slow")
    def leaving() -> None:
        raise SystemExit(1)

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.01)

    sink = MemorySink()
    play(flow, sink)
    with pytest.raises(SystemExit):
        play(lambda tracer: leaving(), sink)
    assert not [each for each in sink.records if each.status.is_final]


def test_reports_a_step_that_takes_a_while() -> None:
    """Once for each attempt, after 20 ms, and never after its end."""

    @step
    async def slow() -> None:
        await asyncio.sleep(0.2)

    @step
    async def quick() -> None:
        await asyncio.sleep(0.001)

    async def flow(tracer: Tracer) -> None:
        await asyncio.gather(slow(), quick())
        await asyncio.sleep(0.05)

    sink = MemorySink()
    play(flow, sink)
    reports = [each for each in sink.running if each.key == "slow:0"]
    assert [(each.attempt, each.duration_s) for each in reports] == [(1, None)]
    assert [(each.key, each.status) for each in sink.records] == [
        ("quick:0", FINISHED),
        ("slow:0", FINISHED),
    ]
    assert (sink.records[1].duration_s or 0) >= 0.2


def test_record_says_what_a_step_is() -> None:
    """Name, position, arguments, result and size, for people and for replays."""

    @step(name="add.up")
    def add(left: int, *, right: int) -> dict[str, int]:
        return {"sum": left + right}

    sink = MemorySink()
    play(lambda tracer: add(1, right=2), sink)
    (record,) = sink.records
    assert (record.key, record.name, record.position) == ("add.up:0", "add.up", 1)
    assert (record.arguments, record.preview) == ("1, right=2", '{"sum":3}')
    assert outcomes.decode(record.result or b"") == ({"sum": 3}, None)
    assert record.size_bytes == len(record.result or b"")
    assert abs(record.started - time.time()) < 10


def test_plain_functions_of_an_async_flow_run_in_threads() -> None:
    """`tracer.step` keeps the loop free; what the function returns may be awaitable."""

    async def flow(tracer: Tracer) -> Any:
        me = threading.get_ident()
        names = await asyncio.gather(
            tracer.step("a", threading.get_ident), tracer.step("b", threading.get_ident)
        )
        assert me not in names
        return await tracer.step("c", lambda: asyncio.sleep(0, "awaited"))

    assert play(flow) == "awaited"


def test_cancelling_interrupts_the_thread() -> None:
    """A plain function of an async flow ends soon after the flow has given it up."""
    ended = threading.Event()

    def slow() -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.set()

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tracer.step("slow", slow), 0.1)

    play(flow)
    assert ended.wait(2)


def test_steps_inside_a_step_are_part_of_it() -> None:
    """Only the outer one is recorded, also from its tasks and threads."""

    @step
    async def inner(number: int) -> int:
        return number

    @step
    async def outer(tracer: Tracer) -> Any:
        first = await asyncio.gather(inner(1), inner(2))
        return [
            *first,
            await tracer.step("more", inner, 3),
            await tracer.step("plain", lambda: 4),
            await asyncio.to_thread(tracer.step_sync, "sync", lambda: 5),
        ]

    async def flow(tracer: Tracer) -> Any:
        return await outer(tracer)

    sink = MemorySink()
    assert play(flow, sink) == [1, 2, 3, 4, 5]
    assert {each.key for each in sink.records} == {"outer:0"}


def test_step_key_is_the_same_when_the_step_runs_again() -> None:
    """It is made of the step's key and the execution's id, or that of the first it goes on with."""
    seen = []

    async def work(tracer: Tracer) -> None:
        seen.append(tracer.step_key)
        await asyncio.to_thread(lambda: seen.append(tracer.step_key))

    async def flow(tracer: Tracer) -> None:
        await tracer.step("pay", work, tracer)
        await tracer.step("pay", work, tracer)
        with pytest.raises(UsageError, match="none is running"):
            tracer.step_key  # noqa: B018

    for _ in range(2):
        play(flow)
    assert seen == [f"{FID}/pay:0", f"{FID}/pay:0", f"{FID}/pay:1", f"{FID}/pay:1"] * 2
    seen.clear()
    play(flow, origin="first")
    assert seen == ["first/pay:0", "first/pay:0", "first/pay:1", "first/pay:1"]


def test_tracer_in_a_ray_task_has_no_steps() -> None:
    """The error says where to call it instead."""
    tracer = pickle.loads(pickle.dumps(Tracer(FID, MemorySink())))
    for call in (
        lambda: tracer.step("a", len, ""),
        lambda: tracer.step_sync("a", len, ""),
        lambda: tracer.sleep(1),
        lambda: tracer.receive_sync("a"),
        lambda: tracer.call("a/b"),
        lambda: tracer.launch_sync("a/b"),
    ):
        with pytest.raises(UsageError, match="not in a Ray task"):
            call()


def test_a_step_lasts_from_its_first_attempt_to_its_end() -> None:
    """Also if a process died in between: its beginning and its duration give its end."""

    async def flow(tracer: Tracer) -> Any:
        return await tracer.step("slow", lambda: 1)

    sink = MemorySink()
    play(flow, sink)
    [record] = sink.records
    died = msgspec.structs.replace(
        past_step(record), status=StepStatus.RUNNING, result=None, started=time.time() - 55
    )
    sink = MemorySink()
    play(flow, sink, Past(steps=[died]))
    again = sink.records[-1]
    assert (again.attempt, again.started) == (2, died.started)
    assert again.duration_s == pytest.approx(55, abs=5)
