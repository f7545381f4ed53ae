"""Durable flows in a test crash where it wants them to, and go on with what they recorded."""

import asyncio
import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from koco import FlowError, NonDeterministic, step, testing
from koco.testing import Tracer

#: How often each step ran.
RAN: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@dataclass
class Page:
    url: str
    day: dt.date


@step
async def fetch(url: str) -> Page:
    RAN[f"fetch {url}"] += 1
    await asyncio.sleep(0)
    return Page(url, dt.date(2026, 1, 2))


@step(retries=3, backoff_s=100)
def fragile(number: int) -> int:
    RAN["fragile"] += 1
    if RAN["fragile"] < number:
        raise ConnectionError("not yet")
    return number


def count(pages: list[Page]) -> int:
    RAN["count"] += 1
    return len(pages)


async def whole(tracer: Tracer, urls: list[str]) -> dict[str, Any]:
    """Use everything once."""
    print("begins")
    pages = await asyncio.gather(*(fetch(url) for url in urls))
    total = await tracer.step("count", count, pages)
    await tracer.result(total)
    answer = await tracer.lock("review", {"total": total})
    await tracer.sleep(86_400)
    child = await tracer.launch("other/flow", {"total": total})
    result = await tracer.call("other/flow", {"total": total})
    note = await tracer.receive("note")
    return {
        "days": [page.day for page in pages],
        "answer": answer,
        "child": child,
        "result": result,
        "note": note,
    }


GIVEN: dict[str, Any] = {
    "inputs": {"urls": ["a", "b", "c"]},
    "answers": {"review": [{"ok": True, "on": dt.date(2026, 3, 4)}]},
    "messages": {"note": [{"text": "x"}]},
    "children": {"other/flow": lambda inputs: {"doubled": inputs["total"] * 2}},
}
KEYS = [
    *("fetch:0", "fetch:1", "fetch:2", "count:0", "lock.review:0", "sleep:0"),
    *("launch.other.flow:0", "call.other.flow:0", "receive.note:0"),
]


def test_an_undisturbed_run_records_its_steps() -> None:
    """Their values have their types; waits are over at once, even those of a day."""
    outcome = testing.run(whole, **GIVEN)
    assert outcome.error is None
    assert outcome.result["days"] == ["2026-01-02"] * 3
    assert outcome.result["result"] == {"doubled": 6}
    assert [each.key for each in outcome.steps] == KEYS
    assert [each.value for each in outcome.steps][:4] == [
        *(Page(url, dt.date(2026, 1, 2)) for url in "abc"),
        3,
    ]
    lock = outcome.steps[4]
    assert (lock.kind, lock.value) == ("lock", {"ok": True, "on": dt.date(2026, 3, 4)})
    assert lock.arguments == '{"total":3}'
    assert outcome.steps[7].value == {"doubled": 6}
    assert outcome.resumed == 0


@pytest.mark.parametrize(
    ("after", "resumed", "lost"),
    [
        ("fetch", 1, 2),  # the other two had run, but were not recorded yet
        *((each, 1, 0) for each in ("fetch:2", "count", "lock.review:0", "sleep")),
        *((each, 1, 0) for each in ("launch.other.flow", "call.other.flow:0", "receive.note")),
        (["fetch:0", "count"], 2, 2),
        ("*", len(KEYS), 3),
    ],
)
def test_a_crashed_flow_has_the_same_result(after: Any, resumed: int, lost: int) -> None:
    """No recorded step runs again, each answer, child and message is used once.

    Events that were stored before a crash are not stored again.
    """
    calm = testing.run(whole, **GIVEN)
    RAN.clear()
    crashed = testing.run(whole, **GIVEN, crash_after=after)
    assert crashed.result == calm.result
    assert crashed.resumed == resumed
    assert [each.key for each in crashed.steps] == KEYS
    assert RAN["count"] == 1
    assert RAN.total() == 4 + lost
    assert crashed.of_kind("stdout") == ["begins"]
    assert crashed.of_kind("result") == [3]
    assert len(crashed.of_kind("lock")) == len(crashed.of_kind("lease")) == 1


@step
def pay(tracer: Tracer) -> str:
    return tracer.step_key


async def paying(tracer: Tracer) -> list[str]:
    return [tracer.fid, pay(tracer), pay(tracer)]


def test_the_keys_of_steps_are_the_same_within_a_run_only() -> None:
    """A service that keeps idempotency keys takes another test for another order."""
    fid, *keys = testing.run(paying, crash_after="*").result
    assert keys == [f"{fid}/pay:0", f"{fid}/pay:1"]
    other, *others = testing.run(paying).result
    assert fid != other
    assert not {*keys} & {*others}


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({"a": 1}, [{"a": 1}]),
        ("one", ["one"]),
        (None, [None]),
        (dt.date(2026, 1, 2), [dt.date(2026, 1, 2)]),
        ([1, [2]], [1, [2]]),
        (({"a": 1}, "x"), [{"a": 1}, "x"]),
        (iter("ab"), ["a", "b"]),
    ],
)
def test_a_message_needs_no_list(given: Any, received: list[Any]) -> None:
    """As with answers: only a list is several."""
    seen: list[Any] = []

    async def flow(tracer: Tracer) -> None:
        for _ in received:
            message = await tracer.receive("note")
            seen.append(message)
        with pytest.raises(TimeoutError):
            await tracer.receive("note", timeout=1)

    assert testing.run(flow, messages={"note": given}).error is None
    assert seen == received


def plain(tracer: Tracer) -> list[Any]:
    """Use the forms for plain functions."""
    first = fragile(2)
    second = tracer.step_sync("count", count, [])
    tracer.sleep_sync(10)
    return [first, second, tracer.lock_sync("a"), tracer.receive_sync("b", timeout=5)]


def test_plain_functions_crash_as_well() -> None:
    """In their thread; the pauses between attempts take no time."""
    given: dict[str, Any] = {"answers": {"a": 1}, "messages": {"b": [2]}}
    outcome = testing.run(plain, **given, crash_after="*")
    assert outcome.result == [2, 0, 1, 2]
    assert outcome.resumed == 5
    assert RAN == {"fragile": 2, "count": 1}
    assert outcome.steps[0].attempt == 2


async def fails(tracer: Tracer) -> str:
    try:
        await tracer.call("other/flow", {})
    except FlowError as exc:
        return f"{exc.type}: {exc.reason}"
    return "it did not fail"


def test_a_childs_error_is_raised_in_its_parent() -> None:
    """Also after a crash; a child that the test does not have fails the test."""
    for after in (None, "*"):
        outcome = testing.run(fails, children={"other/flow": ValueError("no")}, crash_after=after)
        assert outcome.result == "ValueError: no"
    assert outcome.steps[0].error["type"] == "ValueError"
    with pytest.raises(AssertionError, match="no result of the flow 'other/flow'"):
        testing.run(fails)


async def impatient(tracer: Tracer) -> str:
    try:
        return str(await tracer.receive("note", timeout=3600))
    except TimeoutError as exc:
        return str(exc)


def test_a_message_that_does_not_come_expires_at_once() -> None:
    """Without a timeout the flow would wait for ever, so the test fails."""
    assert testing.run(impatient).result == "no message 'note' arrived in time"
    outcome = testing.run(impatient, messages={"note": ["hi"]}, crash_after="*")
    assert outcome.result == "hi"

    async def patient(tracer: Tracer) -> None:
        await tracer.receive("note")

    with pytest.raises(AssertionError, match="no message 'note' left"):
        testing.run(patient)


async def tidy(tracer: Tracer) -> str:
    try:
        await fetch("a")
        return "done"
    finally:
        await tracer.result("tidied")
        RAN["finally"] += 1
        await tracer.step("tidy", count, [])


def test_nothing_of_a_crashed_process_is_stored() -> None:
    """Its `finally` blocks run, but their steps are refused and their events are dropped."""
    outcome = testing.run(tidy, crash_after="fetch")
    assert outcome.result == "done"
    assert outcome.of_kind("result") == ["tidied"]
    assert RAN == {"fetch a": 1, "finally": 2, "count": 1}


LIVES: list[int] = []


async def fickle(tracer: Tracer) -> None:
    LIVES.append(1)
    await fetch("a" if len(LIVES) == 1 else "b")


def test_a_flow_that_does_something_else_fails_the_test() -> None:
    """With both calls in the message."""
    LIVES.clear()
    with pytest.raises(NonDeterministic, match=r"fetch:0\(.*b.*fetch:0\(.*a"):
        testing.run(fickle, crash_after="fetch")


def test_a_crash_that_never_comes_fails_the_test() -> None:
    """It names what was recorded."""
    with pytest.raises(AssertionError, match=r"no outcome of 'count' .* recorded fetch:0"):
        testing.run(tidy_less, crash_after="count")


async def threaded() -> int:
    return await asyncio.to_thread(fragile, 1)


def test_crashes_after_a_step_of_a_thread() -> None:
    """It has a name as any other, although its key has a digest of the arguments."""
    outcome = testing.run(threaded, crash_after="fragile")
    assert (outcome.result, outcome.resumed, RAN["fragile"]) == (1, 1, 1)


async def tidy_less() -> None:
    await fetch("a")


def test_a_part_of_a_flow_waits_and_calls_with_a_tracer() -> None:
    """Without `run`, a tracer of a test records and answers as well."""
    tracer = Tracer(messages={"note": [1]}, children={"a/b": 2})

    async def part() -> list[Any]:
        await tracer.sleep(1000)
        return [
            await tracer.receive("note"),
            await tracer.call("a/b"),
            await tracer.step("count", count, []),
        ]

    assert asyncio.run(part()) == [1, 2, 0]


async def unanswered(tracer: Tracer) -> str:
    try:
        return str(await tracer.lock("review"))
    except TimeoutError as exc:
        return f"{exc}, {await tracer.step('count', count, [])}"


def test_an_exception_in_place_of_an_answer_is_raised_again() -> None:
    """The person is asked once."""
    answers = {"review": TimeoutError("nobody")}
    outcome = testing.run(unanswered, answers=answers, crash_after=["lock.review:0", "count"])
    assert outcome.result == "nobody, 0"
    assert len(outcome.of_kind("lock")) == len(outcome.of_kind("lease")) == 1
    assert outcome.history["locks"][0]["status"] == "expired"


async def insists(tracer: Tracer) -> str:
    while True:
        try:
            page = await fetch("a")
            await tracer.sleep(5)
        except BaseException:  # noqa: BLE001 - the point
            RAN["again"] += 1
        else:
            return page.url


def insists_sync(tracer: Tracer) -> int:
    while True:
        try:
            number = fragile(1)
            tracer.sleep_sync(5)
        except BaseException:  # noqa: BLE001 - the point
            RAN["again"] += 1
        else:
            return number


def test_a_flow_that_catches_everything_is_resumed_elsewhere() -> None:
    """As on a cluster: it stands still in the process that has crashed, and the test goes on."""
    for flow, result in ((insists, "a"), (insists_sync, 1)):
        outcome = testing.run(flow, crash_after="*")
        assert (outcome.result, outcome.resumed) == (result, 2)
    assert RAN["again"]
    assert (RAN["fetch a"], RAN["fragile"]) == (1, 1)
