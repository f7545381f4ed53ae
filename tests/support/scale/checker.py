"""Looks for everything in a history that an undisturbed one would not have."""

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.support.scale.plan import Planned, of_key
from tests.support.scale.recorded import History, Recorded

_FINAL = ("finished", "error", "cancelled")
#: Members of an event in a stream of many that are not in the stream of one.
_OF_MANY = ("fid", "flow")
#: How exact the times of events and effects are (seconds).
_EXACT_S = 0.001
#: What events a flow writes itself.
_OWN = ("result", "stdout")


@dataclass(frozen=True)
class Fault:
    """Something that must not be: its kind, the execution, and what was found."""

    kind: str
    fid: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.fid}: {self.text}"


class Checker:
    """Checks a history; see `faults`."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._children = history.children
        self.faults: list[Fault] = []
        #: What was looked at and what happened to it, for reports.
        self.counts: Counter[str] = Counter()

    def check(self) -> list[Fault]:
        """Look at everything; return the faults."""
        self._accepted()
        for each in self._history.executions.values():
            self._execution(each)
        self._tallies()
        self._told()
        self._heard()
        self._followed()
        return self.faults

    def _equal(self, kind: str, fid: str, what: str, actual: Any, expected: Any) -> None:
        if actual != expected:
            self._fault(kind, fid, f"{what}: {actual!r} instead of {expected!r}")

    def _fault(self, kind: str, fid: str, text: str) -> None:
        self.faults.append(Fault(kind, fid, text))

    def _accepted(self) -> None:
        """Each accepted launch is there once, and nothing else."""
        history = self._history
        for key, fid in history.accepted.items():
            if fid not in history.executions:
                self._fault("lost", fid, f"{key} was accepted, and is not there")
        for each in history.executions.values():
            if each.parent is None and history.accepted.get(each.key or "") != each.fid:
                known = history.accepted.get(each.key or "")
                self._fault("doubled", each.fid, f"{each.key!r} was accepted as {known}")
            if each.parent is not None and each.parent not in history.executions:
                self._fault("doubled", each.fid, f"its parent {each.parent} is not there")
        self.counts["accepted"] = len(history.accepted)

    # each execution

    def _planned(self, each: Recorded) -> Planned | None:
        if each.parent is None:
            return of_key(each.key) if each.key in self._history.accepted else None
        parent = self._history.executions.get(each.parent)
        return of_key(parent.key).child if parent is not None and parent.key else None

    def _execution(self, each: Recorded) -> None:
        self.counts["executions"] += 1
        self.counts["events"] += len(each.lines)
        self.counts["resumed"] += each.resumed
        self.counts["moved"] += each.moves
        events = each.events()
        self._stream(each, events)
        plan = self._planned(each)
        if plan is None:
            return  # it has a fault already
        self._equal("doubled", each.fid, "flow", each.flow, plan.flow)
        # To be resumed is no attempt, but has a number in the store.
        attempts = 1 if plan.is_durable else each.attempt
        self.counts["attempts repeated"] += attempts - 1
        self._outcome(each, plan, events, attempts=attempts)
        self._own(each, plan, events, most=attempts)
        self._steps(each, plan, events)
        children = [child.flow for child in self._children.get(each.fid, [])]
        wanted = [plan.child.flow] if plan.child else []
        self._equal("doubled", each.fid, "children", children, wanted)

    def _stream(self, each: Recorded, events: list[dict[str, Any]]) -> None:
        """Expect no gaps, and one final status, which is the last event."""
        seqs = [event["seq"] for event in events]
        self._equal("reordered", each.fid, "seqs", seqs, list(range(1, each.last_seq + 1)))
        final = [
            (event["seq"], event["payload"]["status"])
            for event in events
            if event["kind"] == "status" and event["payload"]["status"] in _FINAL
        ]
        self._equal("unfinished", each.fid, "final statuses", final, [(each.last_seq, each.status)])
        if not each.has_ended or each.status not in _FINAL:
            self._fault("unfinished", each.fid, f"its row says {each.status}")

    def _outcome(
        self, each: Recorded, plan: Planned, events: list[dict[str, Any]], *, attempts: int
    ) -> None:
        finals = [event["payload"] for event in events if event["kind"] == "final"]
        errors = [event["payload"] for event in events if event["kind"] == "error"]
        if plan.may_die and each.status == "error":
            self.counts["died with their runner"] += 1
            types = [error["type"] for error in errors]
            self._equal("lost", each.fid, "errors", types, ["RunnerDied"])
            return
        self._equal("lost", each.fid, "status", each.status, "finished")
        self._equal("lost", each.fid, "results", finals, [plan.result])
        for error in errors:
            self._equal("lost", each.fid, "an attempt's error", error["type"], "RunnerDied")
        self._equal("doubled", each.fid, "errors", len(errors), attempts - 1)

    def _own(
        self, each: Recorded, plan: Planned, events: list[dict[str, Any]], *, most: int
    ) -> None:
        """Expect each attempt's own events in order, those of the last one all and once."""
        attempts: list[list[tuple[str, Any]]] = [[]]
        for event in events:
            if event["kind"] in _OWN:
                attempts[-1].append((event["kind"], event["payload"]))
            elif event["kind"] == "status" and "attempt" in event["payload"]:
                attempts.append([])
        self._equal("doubled", each.fid, "attempts", len(attempts), most)
        whole = list(plan.own_events())
        for number, found in enumerate(attempts, 1):
            is_whole = number == len(attempts) and each.status == "finished"
            wanted = whole if is_whole else whole[: len(found)]
            if found != wanted:
                kind = "reordered" if sorted(map(str, found)) == sorted(map(str, wanted)) else ""
                kind = kind or ("doubled" if len(found) > len(set(map(str, found))) else "lost")
                self._fault(kind, each.fid, f"attempt {number} wrote {found}, not {wanted}")

    def _steps(self, each: Recorded, plan: Planned, events: list[dict[str, Any]]) -> None:
        """Expect one outcome of each step, and no effect after it was recorded."""
        recorded: dict[str, list[float]] = {f"effect:{n}": [] for n in range(plan.steps)}
        for event in events:
            payload = event["payload"]
            is_step = event["kind"] == "step" and payload["kind"] == "step"
            if is_step and payload["status"] in ("finished", "error"):
                recorded.setdefault(payload["step"], []).append(_seconds(event["ts"]))
        for key, times in recorded.items():
            self.counts["steps"] += 1
            self._equal("doubled", each.fid, f"outcomes of {key}", len(times), 1)
            took_effect = self._history.effects.get(f"{each.fid}/{key}", [])
            self.counts["effects repeated"] += max(0, len(took_effect) - 1)
            if not took_effect:
                self._fault("lost", each.fid, f"{key} has an outcome and no effect")
            elif times and max(took_effect) > min(times) + _EXACT_S:
                self._fault("doubled", each.fid, f"{key} ran again after it was recorded")

    # all together

    def _tallies(self) -> None:
        history = self._history
        statuses = Counter(each.status for each in history.executions.values())
        self._equal("doubled", "all", "tallies", dict(history.tallies), dict(statuses))
        ids = Counter(each.id for each in history.executions.values())
        lacking, more = ids - history.changes, history.changes - ids
        if lacking or more:
            text = f"without changes {sorted(lacking)[:9]}, too many {sorted(more)[:9]}"
            self._fault("lost", "all", text)
        for what, count in history.left.items():
            self._equal("unfinished", "all", what, count, 0)

    def _told(self) -> None:
        """What the API lists and streams is what is in the store."""
        history = self._history
        wanted = sorted((each.fid, each.status) for each in history.executions.values())
        told = sorted(history.told)
        if told != wanted:
            differs = sorted(set(told) ^ set(wanted))[:9]
            self._fault("told", "all", f"the list has {len(told)} of {len(wanted)}: {differs}")
        for fid, each in history.executions.items():
            lines = history.events.get(fid, [])
            if [_of_one(line) for line in lines] != each.events():
                self._fault("told", fid, f"other events than in the store: {lines}")

    def _heard(self) -> None:
        """Whoever followed the changes has heard how each execution ended."""
        for fid, each in self._history.executions.items():
            heard = self._history.heard.get(fid)
            self._equal("told", fid, "the last change", heard, each.status)

    def _followed(self) -> None:
        """Followers saw what the store has, once and in order."""
        for fid, lines in self._history.followed.items():
            self.counts["followed"] += 1
            each = self._history.executions.get(fid)
            if each is not None and lines != each.lines:
                self._fault("told", fid, f"a follower saw {lines}")


def _of_one(line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line)
    return {name: value for name, value in event.items() if name not in _OF_MANY}


def _seconds(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp).timestamp()
