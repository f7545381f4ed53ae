"""Releases on their way: what a runner must do before its release goes live."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster import node_processes
from koco.cluster.node_processes import NodeSilent, Sighting
from koco.control.deploy import rollout


class Process:
    """A runner's process, as it is seen from outside: how many looks it is busy for."""

    node = "here"

    def __init__(self, *, busy: float, goes: bool = False) -> None:
        self.busy, self.goes, self.looks = busy, goes, 0

    async def look(self) -> Sighting | None:
        self.looks += 1
        if self.looks <= self.busy:
            return Sighting("R", time.monotonic(), 0.05 * self.looks, 1)
        return None if self.goes else Sighting("S", time.monotonic(), 9.0, 1)


def waited(process: Any, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(node_processes, "own_node", lambda: "here")
    monkeypatch.setattr(rollout, "_REST_S", 0.01)
    runner: Any = SimpleNamespace(actor=process)
    began = time.monotonic()
    asyncio.run(rollout._wait_until_idle(runner, began))
    return time.monotonic() - began


def test_an_idle_process_costs_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one shows that nothing has happened since the first."""
    process = Process(busy=0)
    waited(process, monkeypatch)
    assert process.looks == 2


def test_a_busy_process_gets_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be dying. Once it is gone, the wait ends."""
    process = Process(busy=5, goes=True)
    waited(process, monkeypatch)
    assert process.looks == 6


def test_the_wait_for_an_idle_process_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module's thread may compute, and a node may be elsewhere or not answer."""
    monkeypatch.setattr(rollout, "_OUTLIVE_S", 0.1)
    monkeypatch.setattr(rollout, "_ELSEWHERE_S", 0.03)
    assert waited(Process(busy=1e9), monkeypatch) >= 0.09

    async def silent() -> None:
        raise NodeSilent("no answer")

    assert waited(SimpleNamespace(node="here", look=silent), monkeypatch) >= 0.09
    monkeypatch.setattr(rollout, "_OUTLIVE_S", 60)
    assert 0.02 <= waited(SimpleNamespace(node="there"), monkeypatch) < 30
