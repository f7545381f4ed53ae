"""The spans of an execution: what it did from when to when, as its events say."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

from koco.client.answers import Execution
from koco.events.model import FINAL

#: The spans of the execution's statuses. They follow each other, and add up to the whole.
PHASES = ("queued", "starting", "running", "awaiting", "sleeping")
#: The kinds of spans below them, in the order of a legend.
PARTS = ("environment", "import", "step", "wait", "lock", "task", "file", "child")

#: Kinds of events that are read. Of the others only the name of a Ray task counts.
_KINDS = frozenset({b"meta", b"status", b"step", b"lock", b"lease", b"upload"})
#: The beginning of an event's line in which its kind and its Ray task stand (bytes).
_HEAD = 400
#: The longest name that is kept (characters).
_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time (seconds since the epoch); `end_s` is None while it lasts.

    `pieces` are the stretches of a group (see `grouped`), whose own is the whole.
    """

    kind: str
    name: str
    start_s: float
    end_s: float | None = None
    status: str = ""
    pieces: tuple[tuple[float, float | None], ...] = ()

    @property
    def stretches(self) -> tuple[tuple[float, float | None], ...]:
        """The stretches that are drawn: those of a group, else its own."""
        return self.pieces or ((self.start_s, self.end_s),)

    def duration_s(self, now_s: float) -> float:
        """Return how long it took, or takes by now; of a group, all its parts together."""
        return sum(
            (now_s if end_s is None else end_s) - start_s for start_s, end_s in self.stretches
        )


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The spans of an execution, its phases first; `end_s` is the end of time drawn."""

    fid: str
    flow: str
    status: str
    start_s: float
    end_s: float
    spans: Sequence[Span]

    @property
    def is_open(self) -> bool:
        """Whether the execution has not ended."""
        return self.status not in FINAL

    @property
    def whole_s(self) -> float:
        """How long all of it is (seconds)."""
        return self.end_s - self.start_s

    def totals(self) -> list[tuple[str, float]]:
        """Return how long the execution had each status, in their order (seconds)."""
        found = dict.fromkeys(PHASES, 0.0)
        for span in self.spans:
            if span.kind in found:
                found[span.kind] += span.duration_s(self.end_s)
        return [(name, spent_s) for name, spent_s in found.items() if spent_s > 0]


@dataclass
class _Reader:
    """Collects spans while it reads events in their order."""

    done: list[Span] = field(default_factory=list)
    open: dict[tuple[str, str], Span] = field(default_factory=dict)
    #: The status that began last.
    phase: str = ""
    tasks: dict[str, Span] = field(default_factory=dict)
    #: The names of the steps that launched children, by the children's fids.
    launched: dict[str, str] = field(default_factory=dict)

    def begin(self, key: tuple[str, str], span: Span) -> None:
        """Open a span, unless it is open."""
        self.open.setdefault(key, span)

    def end(self, key: tuple[str, str], end_s: float, status: str, default: Span) -> None:
        """Close an open span; without one, its beginning is as in `default`."""
        self.done.append(replace(self.open.pop(key, default), end_s=end_s, status=status))

    def read(self, kind: str, payload: Any, at_s: float) -> None:
        """Take one event. What has another form than its kind's is left out."""
        if kind == "meta":
            self._enter("queued", at_s)
        elif isinstance(payload, dict):
            if kind == "status":
                self._note_start(payload, at_s)
                self._enter(str(payload.get("status")), at_s)
            elif kind == "step":
                self._step(payload, at_s)
            elif kind in ("lock", "lease"):
                self._lock(kind, payload, at_s)
            elif kind == "upload":
                name = _name(payload.get("path"))
                status = "removed" if payload.get("removed") else "added"
                span = Span(kind="file", name=name, start_s=at_s, end_s=at_s, status=status)
                self.done.append(span)

    def note_task(self, name: str, at_s: float) -> None:
        """Extend the span of a Ray task to an event of it."""
        if (span := self.tasks.get(name)) is None:
            self.tasks[name] = Span(kind="task", name=_name(name), start_s=at_s, end_s=at_s)
        else:
            self.tasks[name] = replace(span, end_s=at_s)

    def _enter(self, status: str, at_s: float) -> None:
        if status == self.phase:
            return
        if self.phase:
            self.end(("phase", ""), at_s, "", Span(kind=self.phase, name="", start_s=at_s))
        self.phase = status if status in PHASES else ""
        if self.phase:
            self.begin(("phase", ""), Span(kind=status, name="", start_s=at_s))

    def _note_start(self, payload: dict[str, Any], at_s: float) -> None:
        """Add the start of a runner for which the execution has waited until now."""
        queued = self.open.get(("phase", ""))
        for kind in ("import", "environment"):
            took_s = payload.get(f"{kind}_s")
            if queued is not None and _is_duration(took_s) and at_s > queued.start_s:
                # It may have begun earlier, for another execution.
                start_s = max(at_s - took_s, queued.start_s)
                self.done.append(Span(kind=kind, name="", start_s=start_s, end_s=at_s))
                at_s = start_s

    def _step(self, payload: dict[str, Any], at_s: float) -> None:
        kind, key, status = (str(payload.get(name)) for name in ("kind", "step", "status"))
        if kind == "lock":
            return  # its lock is drawn
        span = Span(kind="step" if kind == "step" else "wait", name=_name(key), start_s=at_s)
        if status in ("running", "retrying", "waiting"):
            self.begin(("step", key), span)
        else:
            took_s = payload.get("duration_s")
            if _is_duration(took_s):
                span = replace(span, start_s=at_s - took_s)
            self.end(("step", key), at_s, status, span)
        if isinstance(fid := payload.get("fid"), str):
            self.launched[fid] = span.name

    def _lock(self, kind: str, payload: dict[str, Any], at_s: float) -> None:
        key = ("lock", str(payload.get("lid")))
        span = Span(kind="lock", name=_name(payload.get("name")), start_s=at_s)
        if kind == "lock":
            self.begin(key, span)
        else:
            self.end(key, at_s, str(payload.get("outcome")), span)


def read(
    lines: Iterable[bytes],
    execution: Execution,
    children: Sequence[Execution] = (),
    *,
    now_s: float,
) -> Timeline:
    """Return the timeline of an execution, from the events that matter, as lines of JSON in order.

    `children` are the executions that it launched, as far as they are known. What lasts goes on
    until `now_s`, or until the execution's end. Any event may be hostile; none makes this fail.
    """
    reader, last_s = _Reader(), None
    for line in lines:
        try:
            event = json.loads(line)
            at_s = seconds(event["ts"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        last_s = at_s
        if isinstance(event.get("task"), str):
            reader.note_task(event["task"], at_s)
        reader.read(str(event.get("kind")), event.get("payload"), at_s)
    return _finish(reader, execution, children, now_s=now_s, last_s=last_s)


def matters(line: bytes) -> bool:
    """Return whether `read` needs an event, found out without decoding it."""
    head = line[:_HEAD].partition(b'"payload":')[0]
    kind = head.partition(b'"kind":"')[2].partition(b'"')[0]
    return kind in _KINDS or b'"task":"' in head


def _finish(
    reader: _Reader,
    execution: Execution,
    children: Sequence[Execution],
    *,
    now_s: float,
    last_s: float | None,
) -> Timeline:
    status = execution["status"]
    start_s = seconds(execution["created"])
    finished = execution["finished"]
    end_s = (seconds(finished) if finished else last_s) if status in FINAL else None
    reader.open = {
        # What the execution's end interrupts ends with it.
        key: span if end_s is None else replace(span, end_s=end_s, status=span.status or "ended")
        for key, span in reader.open.items()
    }
    spans = [*reader.done, *reader.open.values(), *reader.tasks.values()]
    known = {child["fid"] for child in children}
    # A child is drawn instead of the step that launched it.
    launches = {name for fid, name in reader.launched.items() if fid in known}
    spans = [span for span in spans if span.kind != "wait" or span.name not in launches]
    spans += [_child(child) for child in children]
    spans.sort(key=lambda span: (span.kind not in PHASES, span.start_s))
    begin_s = min([start_s, *(span.start_s for span in spans)])
    return Timeline(
        fid=execution["fid"],
        flow=execution["flow"],
        status=status,
        start_s=begin_s,
        end_s=max(now_s if end_s is None else end_s, begin_s),
        spans=spans,
    )


def _child(child: Execution) -> Span:
    finished = child["finished"]
    return Span(
        kind="child",
        name=_name(f"{child['flow']} {child['fid'][:6]}"),
        start_s=seconds(child["created"]),
        end_s=seconds(finished) if finished else None,
        status=child["status"],
    )


def grouped(spans: Sequence[Span], most: int) -> list[Span]:
    """Return at most about `most` spans: those of one kind and name become one.

    If there are still too many, those of a kind become one, except the phases.
    """
    found = list(spans)
    if len(found) > most:
        found = _group(found, lambda span: (span.kind, _base(span)))
    if len(found) > most:
        found = _group(found, lambda span: (span.kind, ""))
    return found


def _group(spans: Sequence[Span], key: Any) -> list[Span]:
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        groups.setdefault(key(span), []).append(span)
    return [_join(members, name) for (_, name), members in groups.items()]


def _join(members: Sequence[Span], name: str) -> Span:
    if len(members) == 1:
        return members[0]
    pieces = [piece for span in members for piece in span.stretches]
    ends = [end_s for _, end_s in pieces]
    last_s = None if None in ends else max(end_s for end_s in ends if end_s is not None)
    statuses = {span.status for span in members}
    worst = next((each for each in ("error", "cancelled") if each in statuses), "")
    return Span(
        kind=members[0].kind,
        name=f"{name} ({len(pieces):,})".strip(),
        start_s=min(start_s for start_s, _ in pieces),
        end_s=last_s,
        status=worst or (statuses.pop() if len(statuses) == 1 else ""),
        pieces=tuple(pieces),
    )


def _base(span: Span) -> str:
    """Return the name that calls of the same step share: without places and numbers."""
    if span.kind in ("step", "wait"):
        return span.name.rpartition("/")[2].rpartition(":")[0] or span.name
    if span.kind == "child":
        return span.name.rpartition(" ")[0]
    return "" if span.kind == "file" else span.name


def _is_duration(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < 1e9


def _name(value: Any) -> str:
    return str(value if value is not None else "")[:_NAME]


def seconds(time: str) -> float:
    """Return an RFC 3339 time as seconds since the epoch.

    Raises:
        ValueError: it is none.
    """
    then = datetime.fromisoformat(time)
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
