"""Places of calls, and what a journal finds there when a flow runs again."""

import asyncio
import threading
from typing import Any

import pytest

from koco import NonDeterministic, Tracer, step
from koco.events import line
from koco.events.steps import Past, StepStatus
from koco.sdk.steps import places
from tests.support.journals import Killed, MemorySink, play

ran: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


@step
async def fetch(url: str) -> str:
    ran.append(url)
    await asyncio.sleep(0)
    return f"page {url}"


@step
def count(number: int) -> int:
    ran.append(number)
    return number + 1


def keys(sink: MemorySink) -> list[str]:
    return [each.key for each in sink.records if each.status.is_final]


def test_counts_calls_of_a_name_in_order() -> None:
    """A key is a name and the number of the calls of that name before."""

    async def flow(tracer: Tracer) -> Any:
        return [await fetch("a"), count(1), await fetch("b"), count(2)]

    sink = MemorySink()
    assert play(flow, sink) == ["page a", 2, "page b", 3]
    assert keys(sink) == ["fetch:0", "count:0", "fetch:1", "count:1"]
    assert [each.position for each in sink.records] == [1, 2, 3, 4]


def test_gathered_calls_take_their_places_in_the_order_of_the_calls() -> None:
    """`gather` makes tasks of the calls, but they were made before, one after the other."""

    async def flow(tracer: Tracer) -> Any:
        return await asyncio.gather(*(fetch(url) for url in "abc"))

    sink = MemorySink()
    assert play(flow, sink) == ["page a", "page b", "page c"]
    assert sorted(keys(sink)) == ["fetch:0", "fetch:1", "fetch:2"]


def test_tasks_have_branches_of_their_own() -> None:
    """The number of a task within its parent is in front of the key, at any depth."""

    async def inner() -> None:
        await fetch("deep")

    async def outer(url: str, pause: int) -> None:
        for _ in range(pause):
            await asyncio.sleep(0)
        await fetch(url)
        async with asyncio.TaskGroup() as group:
            group.create_task(inner())

    async def flow(tracer: Tracer) -> Any:
        await asyncio.gather(outer("a", 5), outer("b", 0))
        await fetch("end")

    sink = MemorySink()
    play(flow, sink)
    assert keys(sink) == [
        "2/fetch:0", "2.1/fetch:0", "1/fetch:0", "1.1/fetch:0", "fetch:0"
    ]  # fmt: skip


def test_threads_are_told_apart_by_their_arguments() -> None:
    """Threads have no order: equal calls are counted, others differ by their digest."""

    async def flow(tracer: Tracer) -> Any:
        return sorted(await asyncio.gather(*(asyncio.to_thread(count, n) for n in (1, 2, 1))))

    sink = MemorySink()
    assert play(flow, sink) == [2, 2, 3]
    found = sorted(keys(sink))
    assert all(key.startswith("~/count.") for key in found)
    assert sorted(key[-2:] for key in found) == [":0", ":0", ":1"]
    ran.clear()
    assert play(flow, past=sink.past()) == [2, 2, 3]
    assert not ran


def test_own_thread_of_a_plain_flow_is_the_main_branch() -> None:
    """A plain flow's own calls are ordered; those of its threads are not."""

    def flow(tracer: Tracer) -> Any:
        count(1)
        thread = threading.Thread(target=contextual(lambda: count(2)))
        thread.start()
        thread.join()
        return count(3)

    sink = MemorySink()
    assert play(flow, sink) == 4
    assert [key.partition("/")[0] for key in keys(sink)] == ["count:0", "~", "count:1"]


def contextual(function: Any) -> Any:
    import contextvars

    context = contextvars.copy_context()
    return lambda: context.run(function)


def test_recorded_outcomes_are_returned_without_a_call() -> None:
    """A replay calls no step whose outcome is recorded, and goes on with the next one."""

    async def flow(tracer: Tracer) -> Any:
        pages = await asyncio.gather(fetch("a"), fetch("b"))
        return [*pages, count(len(pages)), await tracer.step("last", lambda: 9)]

    sink = MemorySink(dies_after=3)
    with pytest.raises(Killed):
        play(flow, sink)
    ran.clear()
    assert play(flow, again := MemorySink(), sink.past()) == ["page a", "page b", 3, 9]
    assert ran == []
    assert keys(again) == ["last:0"]


def test_replay_after_each_death_gives_the_same() -> None:
    """Whatever was recorded, the result and the records are those of an undisturbed run."""

    async def flow(tracer: Tracer) -> Any:
        pages = await asyncio.gather(*(fetch(url) for url in "abc"))
        return [*pages, count(1), await fetch("d")]

    whole = MemorySink()
    expected = play(flow, whole)
    for outcomes in range(5):
        sink = MemorySink(dies_after=outcomes)
        with pytest.raises(Killed):
            play(flow, sink)
        again = MemorySink()
        assert play(flow, again, sink.past()) == expected
        both = {each.key: (each.position, each.digest) for each in [*sink.records, *again.records]}
        assert both == {each.key: (each.position, each.digest) for each in whole.records}
        assert not set(keys(sink)) & set(keys(again))


async def _first(tracer: Tracer) -> Any:
    return [await fetch("a"), count(1)]


def recorded() -> Past:
    sink = MemorySink()
    play(_first, sink)
    return sink.past()


async def _other_arguments(tracer: Tracer) -> Any:
    return [await fetch("b"), count(1)]


async def _other_name(tracer: Tracer) -> Any:
    return [await tracer.step("load", fetch, "a"), count(1)]


async def _one_more(tracer: Tracer) -> Any:
    await fetch("a")
    await tracer.step("extra", lambda: 1)
    return count(1)


async def _one_less(tracer: Tracer) -> Any:
    return count(1)


async def _swapped(tracer: Tracer) -> Any:
    return [count(1), await fetch("a")]


async def _other_kind(tracer: Tracer) -> Any:
    await fetch("a")
    await tracer.sleep(1)


@pytest.mark.parametrize(
    ("flow", "parts"),
    [
        (_other_arguments, ['fetch:0("b")', 'fetch:0("a")', "other arguments"]),
        (_other_name, ['load:0("a")', 'fetch:0("a")']),
        (_one_more, ["extra:0()", "count:0(1)"]),
        (_one_less, ["count:0(1)", 'fetch:0("a")']),
        (_swapped, ["count:0(1)", 'fetch:0("a")']),
        (_other_kind, ["sleep:0", "count:0(1)"]),
    ],
)
def test_another_call_at_a_recorded_place_ends_the_flow(flow: Any, parts: list[str]) -> None:
    """The error shows both versions, with a hint."""
    with pytest.raises(NonDeterministic) as caught:
        play(flow, past=recorded())
    for part in parts:
        assert part in str(caught.value)
    assert "koco resume" in str(caught.value.hint)


def test_flow_cannot_swallow_that_it_differs() -> None:
    """`except Exception` does not catch it, and whatever follows raises it again."""
    seen = []

    async def flow(tracer: Tracer) -> Any:
        try:
            await fetch("b")
        except Exception:  # noqa: BLE001 - as a flow may do it
            seen.append("swallowed")
        except BaseException:  # noqa: BLE001 - as a flow may do it
            for attempt in (lambda: fetch("a"), lambda: tracer.debug("x"), lambda: tracer.sleep(1)):
                with pytest.raises(NonDeterministic):
                    await attempt()
            with pytest.raises(NonDeterministic):
                await tracer.lock("a")
            seen.append("again")

    play(flow, past=recorded())
    assert seen == ["again"]


class Moved:
    """Is found in no module later."""


def test_flow_cannot_swallow_that_an_outcome_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would go another way than the recorded one."""
    seen = []

    @step
    def make() -> Moved:
        return Moved()

    async def flow(tracer: Tracer) -> Any:
        try:
            return make()
        except Exception:  # noqa: BLE001 - as a flow may do it
            seen.append("swallowed")

    sink = MemorySink()
    play(flow, sink)
    monkeypatch.delitem(globals(), "Moved")
    with pytest.raises(NonDeterministic, match="'make:0' cannot be read: AttributeError") as caught:
        play(flow, past=sink.past())
    assert "koco resume FID --from make:0" in str(caught.value.hint)
    assert not seen


def test_step_that_was_running_runs_again() -> None:
    """A step without an outcome runs again, as the next attempt."""

    async def flow(tracer: Tracer) -> Any:
        return await slow()

    @step
    async def slow() -> int:
        await asyncio.sleep(0.06)
        return 1

    sink = MemorySink(dies_after=0)
    with pytest.raises(Killed):
        play(flow, sink)
    assert [each.status for each in sink.running] == [StepStatus.RUNNING]
    again = MemorySink()
    assert play(flow, again, sink.past()) == 1
    assert (again.records[-1].attempt, again.records[-1].failures) == (2, 0)
    assert again.records[-1].started == sink.running[0].started


def test_flow_may_move_to_another_thread() -> None:
    """An async flow that returns a generator goes on in a thread, as its main branch."""
    sink = MemorySink()

    async def flow(tracer: Tracer) -> Any:
        count(1)

        def rest() -> int:
            places.adopt()
            return count(2)

        return await asyncio.to_thread(rest)

    assert play(flow, sink) == 3
    assert keys(sink) == ["count:0", "count:1"]


def test_coroutines_of_other_threads_have_no_order() -> None:
    """`run_coroutine_threadsafe` makes tasks in callbacks, when no task of the flow runs."""
    sink = MemorySink()

    async def flow(tracer: Tracer) -> Any:
        loop = asyncio.get_running_loop()

        def ask() -> str:
            return asyncio.run_coroutine_threadsafe(later(), loop).result()

        async def later() -> str:
            return await fetch("a")

        return [await asyncio.to_thread(ask), await fetch("b")]

    assert play(flow, sink) == ["page a", "page b"]
    first, second = keys(sink)
    assert first.startswith("~/fetch.")
    assert second == "fetch:0"


def test_events_have_the_place_of_the_code_that_writes_them() -> None:
    """The main branch, a task's, a running step, or a thread."""
    seen = []

    async def note() -> None:
        seen.append(places.place_here())

    async def flow(tracer: Tracer) -> None:
        await note()
        await asyncio.gather(note(), note())
        await tracer.step("work", note)
        await asyncio.to_thread(lambda: seen.append(places.place_here()))

    assert places.place_here() is None
    play(flow)
    assert seen == ["", "1", "2", "work:0", "~"]


def test_progress_is_an_event_of_its_own() -> None:
    """What is not known is left out."""

    async def flow(tracer: Tracer) -> None:
        await tracer.progress(1)
        tracer.progress_sync(2, 10, "pages")

    sink = MemorySink()
    play(flow, sink)
    told = [line.decode(1, each) for each in sink.events]
    assert {each["kind"] for each in told} == {"progress"}
    assert [each["payload"] for each in told] == [
        {"done": 1},
        {"done": 2, "total": 10, "message": "pages"},
    ]
