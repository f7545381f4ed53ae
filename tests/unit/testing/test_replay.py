"""Histories replayed with today's code."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from koco import NonDeterministic, step, testing
from koco.errors import UsageError
from koco.testing import Tracer

#: How often each step ran.
RAN: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@step
async def fetch(url: str) -> str:
    RAN["fetch"] += 1
    return url.upper()


@step
def count(texts: list[str]) -> int:
    RAN["count"] += 1
    return len(texts)


async def flow(tracer: Tracer, urls: list[str]) -> Any:
    texts = await asyncio.gather(*(fetch(url) for url in urls))
    total = count(texts)
    answer = await tracer.lock("review", {"total": total})
    await tracer.sleep(5)
    return [total, answer]


GIVEN: dict[str, Any] = {"inputs": {"urls": ["a", "b"]}, "answers": {"review": "yes"}}


def recorded(*, until: str | None = None) -> dict[str, Any]:
    """Return the history of `flow`; `until` is the key of the first step that it lacks."""
    history: dict[str, Any] = json.loads(json.dumps(testing.run(flow, **GIVEN).history))
    positions = {each["key"]: each["position"] for each in history["steps"] + history["locks"]}
    if until is not None:
        for part in ("steps", "locks"):
            kept = [each for each in history[part] if each["position"] < positions[until]]
            history[part] = kept
    RAN.clear()
    return history


def test_the_same_code_replays_a_whole_history() -> None:
    """No step runs, and the flow ends as it did."""
    replay = testing.replays(flow, recorded())
    assert replay.next == []
    assert replay.outcome is not None
    assert replay.outcome.result == [2, "yes"]
    assert not RAN


@pytest.mark.parametrize("until", ["count:0", "lock.review:0", "sleep:0"])
def test_a_replay_stops_where_the_history_ends(until: str, tmp_path: Path) -> None:
    """It says what comes next. The history may be a file."""
    path = tmp_path / "history.json"
    path.write_text(json.dumps(recorded(until=until)))
    for given in (path, str(path)):
        replay = testing.replays(flow, given)
        assert replay.next == [until]
        assert replay.outcome is None
    assert not RAN


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_steps_of_a_gather_may_be_missing_in_any_order() -> None:
    """What is recorded of them is checked, the others come next."""
    history = recorded(until="count:0")
    del history["steps"][0]
    assert testing.replays(flow, history).next == ["fetch:0"]
    history["steps"][0]["digest"] = "0" + history["steps"][0]["digest"]
    with pytest.raises(NonDeterministic, match="fetch:1"):
        testing.replays(flow, history)


async def renamed(tracer: Tracer, urls: list[str]) -> None:
    await asyncio.gather(*(tracer.step("load", fetch, url) for url in urls))


async def other_arguments(urls: list[str]) -> None:
    for url in urls:
        await fetch(url + "/")


async def one_more(urls: list[str]) -> None:
    await fetch("first")
    for url in urls:
        await fetch(url)


def plain(tracer: Tracer, urls: list[str]) -> None:
    asyncio.run(fetch(urls[0]))
    count([])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (renamed, r"load:0\(.*where it called fetch:0\("),
        (other_arguments, r"fetch:0\(.*a/.*called fetch:0\(.*with other arguments"),
        (one_more, r"fetch:0\(.*first.*called fetch:0\("),
    ],
)
def test_changed_calls_are_found(changed: Any, said: str) -> None:
    """The error shows both calls."""
    with pytest.raises(NonDeterministic, match=said) as caught:
        testing.replays(changed, recorded())
    assert "same calls in the same order" in str(caught.value.hint)


async def shorter(urls: list[str]) -> list[str]:
    return list(await asyncio.gather(*(fetch(url) for url in urls)))


async def unasked(urls: list[str]) -> None:
    count(await asyncio.gather(*(fetch(url) for url in urls)))


async def in_tasks(urls: list[str]) -> None:
    await asyncio.gather(*(asyncio.create_task(load(url)) for url in urls))


async def load(url: str) -> str:
    return await fetch(url)


async def broken(urls: list[str]) -> None:
    await fetch(urls[0])
    raise KeyError("x")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (shorter, r"the step count:0\(.*; today's code ends instead"),
        (unasked, r"the lock lock.review:0; today's code ends instead"),
        (in_tasks, r"the step fetch:0\(.*; today's code goes on with 1/fetch:0, 2/fetch:0 instead"),
        (broken, r"the step fetch:1\(.*; today's code ends with .*KeyError: 'x' instead"),
    ],
)
def test_missing_calls_are_found(changed: Any, said: str) -> None:
    """Code that goes on without a recorded call would not resume as it should."""
    with pytest.raises(AssertionError, match=said):
        testing.replays(changed, recorded())


def sync_flow(tracer: Tracer) -> int:
    total: int = count(["a"]) + tracer.step_sync("more", len, "bc")
    tracer.sleep_sync(10)
    return total + tracer.step_sync("last", len, "d")


@pytest.mark.parametrize(("kept", "following"), [(0, "count:0"), (2, "sleep:0"), (3, "last:0")])
def test_plain_functions_are_replayed(kept: int, following: str) -> None:
    """Their threads end with the replay."""
    history = testing.run(sync_flow).history
    assert testing.replays(sync_flow, history).outcome.result == 4  # type: ignore[union-attr]
    history["steps"] = history["steps"][:kept]
    assert testing.replays(sync_flow, history).next == [following]


@pytest.mark.parametrize("given", [{}, {"fid": 3}, "/nowhere.json", __file__])
def test_what_is_no_history_is_refused(given: Any) -> None:
    """With a hint at the command that writes one."""
    with pytest.raises(UsageError, match="no history") as caught:
        testing.replays(flow, given)
    assert "koco steps FID --export" in str(caught.value.hint)
