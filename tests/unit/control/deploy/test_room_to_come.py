"""Whether a release that waits for room gets it, when everything under way has ended."""

from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster.placement import Node
from koco.cluster.resource_holders import Holder
from koco.cluster.serve import name_of
from koco.cluster.serve_failures import Request
from koco.control.deploy.room_to_come import Outlook


def outlook(
    *,
    live: dict[str, float],
    starting: dict[str, float],
    cpus: float = 2,
    retired: dict[str, float] | None = None,
    others: float = 0,
) -> Outlook:
    """One node. Release 1 of services is live or retired, release 2 starts and waits for CPUs."""
    pools: dict[Any, Any] = {(name, 1): SimpleNamespace(is_live=True) for name in live}
    pools |= {(name, 1): SimpleNamespace(is_live=False) for name in retired or {}}
    pools |= {(name, 2): SimpleNamespace(is_live=True) for name in starting}
    held = {name_of(name, 1): amount for name, amount in {**live, **(retired or {})}.items()}
    ours = set(held)
    held |= {"somebody-elses": others}
    holders = [Holder("", "n", {"CPU": cpu}, application=name) for name, cpu in held.items()]
    holders.append(Holder("a task", "n", {"CPU": 2}))
    waits = {name_of(n, 2): [Request("", {"CPU": cpu}, {})] for n, cpu in starting.items() if cpu}
    nodes = [Node("n", "a", True, {"CPU": cpus}, {"CPU": 0})]
    return Outlook(nodes, holders, pools, waits, ours)


def test_a_task_gives_its_resources_back() -> None:
    """So a release waits for it."""
    assert outlook(live={}, starting={"a": 2}).has_room_for(("a", 2))


def test_a_live_release_keeps_its_own_until_it_is_replaced() -> None:
    """The next one must fit beside it."""
    assert outlook(live={"a": 1}, starting={"a": 1}).has_room_for(("a", 2))
    assert not outlook(live={"a": 1.5}, starting={"a": 1}).has_room_for(("a", 2))
    assert not outlook(live={"b": 1.5}, starting={"a": 1}).has_room_for(("a", 2))


def test_a_replaced_release_is_about_to_end() -> None:
    """And so is an application that belongs to none."""
    assert outlook(live={}, starting={"a": 1}, retired={"b": 1.5}).has_room_for(("a", 2))
    gone = outlook(live={"b": 1.5}, starting={"a": 1})
    del gone.pools[("b", 1)]  # type: ignore[attr-defined]
    assert gone.has_room_for(("a", 2))


def test_somebody_elses_application_stays() -> None:
    """koco removes only its own."""
    assert not outlook(live={}, starting={"a": 1}, others=1.5).has_room_for(("a", 2))


@pytest.mark.parametrize("key", [("a", 2), ("b", 2), ("c", 2)])
def test_releases_that_fit_one_after_the_other_all_have_room(key: tuple[str, int]) -> None:
    """Each makes room for the next when it replaces its former one."""
    live, starting = {"a": 0.6, "b": 0.6, "c": 0.6}, {"a": 0.2, "b": 0.6, "c": 0.5}
    assert outlook(live=live, starting=starting).has_room_for(key)


@pytest.mark.parametrize("key", [("a", 2), ("b", 2)])
def test_releases_that_wait_for_each_other_have_no_room(key: tuple[str, int]) -> None:
    """Neither goes live, so neither former one ends."""
    live = {"a": 1.0, "b": 1.0}
    assert not outlook(live=live, starting={"a": 0.5, "b": 0.5}).has_room_for(key)


def test_the_room_of_one_that_goes_live_is_taken() -> None:
    """What it gives back may be less than what it takes."""
    live, starting = {"a": 0.1, "b": 1.0}, {"a": 0.9, "b": 0.9}
    assert outlook(live=live, starting=starting).has_room_for(("a", 2))
    more = {"a": 0.1, "b": 1.0, "c": 0.1}
    waits = {"a": 0.8, "c": 1.5}
    assert not outlook(live=more, starting=waits).has_room_for(("c", 2))


def test_a_release_whose_needs_are_unknown_may_go_live() -> None:
    """It has not come to its endpoint yet, or that has room already."""
    assert outlook(live={"b": 1.5}, starting={"a": 1, "b": 0}).has_room_for(("a", 2))
