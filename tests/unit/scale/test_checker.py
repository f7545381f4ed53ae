"""The checker of the storm at scale: it finds each fault in a copy of a history without any."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.scale.checker import Checker, Fault
from tests.support.scale.plan import PING, PROBE, Planned, planned
from tests.support.scale.recorded import History, Recorded

_SEED = 7
_TS = "2026-12-01T12:00:{:09.6f}Z"


def _of(flow: str) -> Planned:
    return next(each for n in range(1, 500) if (each := planned(_SEED, n)).flow == flow)


def _lines(bodies: list[tuple[str, Any]]) -> list[bytes]:
    return [
        json.dumps({"seq": seq, "ts": _TS.format(seq), "kind": kind, "payload": payload}).encode()
        + b"\n"
        for seq, (kind, payload) in enumerate(bodies, 1)
    ]


def _bodies(plan: Planned, *, died: int = 0, end: str = "finished") -> list[tuple[str, Any]]:
    """Return the events of an execution; its runner dies so often, after its first own event."""
    own = list(plan.own_events())
    found: list[tuple[str, Any]] = [("meta", {}), ("inputs", plan.inputs)]
    for attempt in range(2, died + 2):
        found += [("status", {"status": "running"}), *own[:1], ("error", {"type": "RunnerDied"})]
        found.append(("status", {"status": "queued", "attempt": attempt}))
    found.append(("status", {"status": "running"}))
    if end == "error":
        return [*found, *own[:1], ("error", {"type": "RunnerDied"}), ("status", {"status": end})]
    for number in range(plan.steps):
        step = {"step": f"effect:{number}", "kind": "step", "status": "finished"}
        found.append(("step", step))
    return [*found, *own, ("final", plan.result), ("status", {"status": end})]


class _Made:
    """A history without faults, of one execution of each flow and some that met a kill."""

    def __init__(self) -> None:
        self.history = History()
        self.emit = self._add(_of("crowd/emit"))
        self.again = self._add(_of("lone/count"), died=1)
        self.mortal = self._add(_of("crowd/mortal"), end="error")
        self.steps = self._add(_of("kept/steps"))
        family = _of("kept/family")
        self.family = self._add(family)
        assert family.child is not None
        self.child = self._add(family.child, parent=self.family.fid)
        self.probe = self._add(Planned(f"{PROBE}-7-1", PING, {"number": 0, "count": 0}))
        self.settle()

    def _add(
        self, plan: Planned, *, died: int = 0, end: str = "finished", parent: str | None = None
    ) -> Recorded:
        number = len(self.history.executions) + 1
        fid = f"fid{number}"
        lines = _lines(_bodies(plan, died=died, end=end))
        each = Recorded(
            fid=fid,
            id=number,
            flow=plan.flow,
            status=end,
            key=plan.key or None,
            parent=parent,
            last_seq=len(lines),
            attempt=1 + died,
            lines=lines,
        )
        self.history.executions[fid] = each
        if parent is None:
            self.history.accepted[plan.key] = fid
        for step in range(plan.steps):
            self.history.effects[f"{fid}/effect:{step}"] = [0.0]
        return each

    def settle(self) -> None:
        """Let everybody else see what the store has."""
        history = self.history
        found = history.executions.values()
        history.tallies = dict(Counter(each.status for each in found))
        history.changes = Counter(each.id for each in found)
        history.left = {"open locks": 0}
        history.told = [(each.fid, each.status) for each in found]
        history.heard = dict(history.told)
        history.events = {each.fid: list(each.lines) for each in found}
        history.followed = {self.emit.fid: list(self.emit.lines)}

    def rewrite(self, each: Recorded, change: Callable[[list[tuple[str, Any]]], object]) -> None:
        """Change the events of an execution, numbered as if they had come so."""
        bodies = [(event["kind"], event["payload"]) for event in each.events()]
        change(bodies)
        each.lines = _lines(bodies)
        each.last_seq = len(each.lines)
        self.settle()


def _faults(made: _Made) -> list[Fault]:
    return Checker(made.history).check()


def _found(made: _Made) -> set[tuple[str, str]]:
    return {(each.kind, each.fid) for each in _faults(made)}


def _own(bodies: list[tuple[str, Any]], kind: str) -> list[int]:
    return [at for at, (each, _) in enumerate(bodies) if each == kind]


def _swap(bodies: list[tuple[str, Any]], one: int, other: int) -> None:
    bodies[one], bodies[other] = bodies[other], bodies[one]


@pytest.fixture
def made() -> _Made:
    return _Made()


def test_a_history_without_faults_has_none(made: _Made) -> None:
    checker = Checker(made.history)
    assert checker.check() == []
    assert checker.counts["executions"] == 7
    assert checker.counts["attempts repeated"] == 1
    assert checker.counts["died with their runner"] == 1
    assert checker.counts["steps"] > 2


def test_finds_a_lost_execution(made: _Made) -> None:
    del made.history.executions[made.emit.fid]
    made.settle()
    assert ("lost", made.emit.fid) in _found(made)


def test_finds_a_doubled_execution(made: _Made) -> None:
    """One that nobody was told of, because the answer was lost, and another one of the same key."""
    twin = Recorded(**{**vars(made.emit), "fid": "twin", "id": 99})
    made.history.executions["twin"] = twin
    made.settle()
    assert _found(made) == {("doubled", "twin")}


def test_finds_a_doubled_child(made: _Made) -> None:
    twin = Recorded(**{**vars(made.child), "fid": "twin", "id": 99})
    made.history.executions["twin"] = twin
    made.history.effects |= {
        f"twin/{key.partition('/')[2]}": times
        for key, times in made.history.effects.items()
        if key.startswith(f"{made.child.fid}/")
    }
    made.settle()
    assert _found(made) == {("doubled", made.family.fid)}


def test_finds_an_unfinished_execution(made: _Made) -> None:
    made.rewrite(made.emit, lambda bodies: bodies.pop())
    made.emit.status = "running"
    made.settle()
    assert ("unfinished", made.emit.fid) in _found(made)


def test_finds_a_second_final_status(made: _Made) -> None:
    made.rewrite(made.emit, lambda bodies: bodies.append(bodies[-1]))
    assert ("unfinished", made.emit.fid) in _found(made)


def test_finds_what_is_written_after_the_end(made: _Made) -> None:
    made.rewrite(made.emit, lambda bodies: _swap(bodies, -1, -2))
    assert ("unfinished", made.emit.fid) in _found(made)


def test_finds_a_lost_event(made: _Made) -> None:
    made.rewrite(made.emit, lambda bodies: bodies.pop(_own(bodies, "result")[0]))
    assert _found(made) == {("lost", made.emit.fid)}


def test_finds_a_doubled_event(made: _Made) -> None:
    def double(bodies: list[tuple[str, Any]]) -> None:
        at = _own(bodies, "result")[0]
        bodies.insert(at, bodies[at])

    made.rewrite(made.emit, double)
    assert _found(made) == {("doubled", made.emit.fid)}


@pytest.mark.parametrize("kinds", [("result", "result"), ("stdout", "result")])
def test_finds_reordered_events(made: _Made, kinds: tuple[str, str]) -> None:
    """Also of two kinds, and in the attempt that has finished."""

    def reorder(bodies: list[tuple[str, Any]]) -> None:
        _swap(bodies, _own(bodies, kinds[0])[-2], _own(bodies, kinds[1])[-1])

    made.rewrite(made.again, reorder)
    assert _found(made) == {("reordered", made.again.fid)}


def test_finds_an_event_of_an_earlier_attempt_in_a_later_one(made: _Made) -> None:
    def late(bodies: list[tuple[str, Any]]) -> None:
        first = _own(bodies, "stdout")[0]
        bodies.insert(_own(bodies, "final")[0], bodies[first])

    made.rewrite(made.again, late)
    assert _found(made) == {("doubled", made.again.fid)}


def test_finds_a_gap(made: _Made) -> None:
    made.emit.lines.pop(3)
    made.settle()
    assert ("reordered", made.emit.fid) in _found(made)


def test_finds_a_wrong_result(made: _Made) -> None:
    def falsify(bodies: list[tuple[str, Any]]) -> None:
        bodies[_own(bodies, "final")[0]] = ("final", [0, 0])

    made.rewrite(made.steps, falsify)
    assert _found(made) == {("lost", made.steps.fid)}


def test_finds_an_execution_that_was_to_be_repeated(made: _Made) -> None:
    """Only those without further attempts may end with their runners."""

    def die(bodies: list[tuple[str, Any]]) -> None:
        bodies[-2:] = [("error", {"type": "RunnerDied"}), ("status", {"status": "error"})]

    made.rewrite(made.emit, die)
    made.emit.status = "error"
    made.settle()
    assert ("lost", made.emit.fid) in _found(made)


def test_finds_a_death_with_a_wrong_cause(made: _Made) -> None:
    def lie(bodies: list[tuple[str, Any]]) -> None:
        bodies[-2] = ("error", {"type": "ValueError"})

    made.rewrite(made.mortal, lie)
    assert _found(made) == {("lost", made.mortal.fid)}


def test_finds_a_step_that_ran_after_it_was_recorded(made: _Made) -> None:
    [key, *_] = [each for each in made.history.effects if each.startswith(made.steps.fid)]
    made.history.effects[key].append(4e9)
    assert _found(made) == {("doubled", made.steps.fid)}


def test_lets_a_step_repeat_its_effect_before_it_is_recorded(made: _Made) -> None:
    """Its process died meanwhile; the effect is counted."""
    [key, *_] = [each for each in made.history.effects if each.startswith(made.steps.fid)]
    made.history.effects[key].append(1.0)
    checker = Checker(made.history)
    assert checker.check() == []
    assert checker.counts["effects repeated"] == 1


def test_finds_a_step_without_an_effect(made: _Made) -> None:
    [key, *_] = [each for each in made.history.effects if each.startswith(made.steps.fid)]
    del made.history.effects[key]
    assert _found(made) == {("lost", made.steps.fid)}


def test_finds_a_step_with_two_outcomes(made: _Made) -> None:
    def double(bodies: list[tuple[str, Any]]) -> None:
        at = _own(bodies, "step")[0]
        bodies.insert(at, bodies[at])

    made.rewrite(made.steps, double)
    assert _found(made) == {("doubled", made.steps.fid)}


def test_finds_a_wrong_tally(made: _Made) -> None:
    made.history.tallies["finished"] += 1
    assert _found(made) == {("doubled", "all")}


@pytest.mark.parametrize("count", [0, 2])
def test_finds_a_missing_and_a_doubled_change(made: _Made, count: int) -> None:
    made.history.changes[made.emit.id] = count
    assert _found(made) == {("lost", "all")}


def test_finds_what_is_left(made: _Made) -> None:
    made.history.left["open locks"] = 1
    assert _found(made) == {("unfinished", "all")}


def test_finds_a_list_that_differs_from_the_store(made: _Made) -> None:
    made.history.told.append(made.history.told[0])
    assert _found(made) == {("told", "all")}


def test_finds_a_stream_that_differs_from_the_store(made: _Made) -> None:
    made.history.events[made.emit.fid].pop()
    assert _found(made) == {("told", made.emit.fid)}


def test_finds_a_follower_that_saw_an_event_twice(made: _Made) -> None:
    lines = made.history.followed[made.emit.fid]
    lines.insert(2, lines[1])
    assert _found(made) == {("told", made.emit.fid)}


def test_finds_a_change_that_nobody_heard(made: _Made) -> None:
    made.history.heard[made.emit.fid] = "running"
    assert _found(made) == {("told", made.emit.fid)}


def test_finds_another_flow(made: _Made) -> None:
    made.emit.flow = "crowd/mortal"
    assert _found(made) == {("doubled", made.emit.fid)}


def test_finds_a_row_that_contradicts_its_events(made: _Made) -> None:
    """Without the time of its end, or with one attempt too many."""
    made.emit.has_ended = False
    made.again.attempt += 1
    faults = _faults(made)
    assert {(each.kind, each.fid) for each in faults} == {
        ("unfinished", made.emit.fid),
        ("doubled", made.again.fid),
    }
    assert [each.text.partition(":")[0] for each in faults] == [
        "its row says finished",
        "errors",
        "attempts",
    ]


def test_finds_an_execution_that_was_cancelled(made: _Made) -> None:
    def cancel(bodies: list[tuple[str, Any]]) -> None:
        bodies[-1] = ("status", {"status": "cancelled"})

    made.rewrite(made.emit, cancel)
    made.emit.status = "cancelled"
    made.settle()
    assert "status: 'cancelled' instead of 'finished'" in {each.text for each in _faults(made)}


def test_finds_an_attempt_that_failed_by_itself(made: _Made) -> None:
    def fail(bodies: list[tuple[str, Any]]) -> None:
        bodies[_own(bodies, "error")[0]] = ("error", {"type": "ValueError"})

    made.rewrite(made.again, fail)
    assert _found(made) == {("lost", made.again.fid)}


def test_finds_a_child_without_its_parent(made: _Made) -> None:
    made.child.parent = "nobody"
    assert _found(made) == {("doubled", made.family.fid), ("doubled", made.child.fid)}
