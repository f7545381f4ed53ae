"""Random programs for the flows of `durable_flows`, and what must come of them.

A program is a list of parts, each a list of an action's name and its arguments, so it is JSON.
"""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

Part = list[Any]

#: The depth of a child's parts, which are simple. Nobody sends messages to a child.
_CHILD = 9


@dataclass
class Expected:
    """What an undisturbed run of a program leaves behind."""

    #: The result; None if it raises.
    result: Any = None
    error: str = ""
    #: The texts of its own events, in order, by the task of the flow that writes them.
    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: How many steps and waits there are of each name.
    names: Counter[str] = field(default_factory=Counter)
    #: How many steps end with an error.
    failed: int = 0
    locks: set[str] = field(default_factory=set)
    #: The messages that it receives, in order: name and value.
    messages: list[tuple[str, int]] = field(default_factory=list)
    children: list[list[Part]] = field(default_factory=list)


class Writer:
    """Writes programs. The same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def write(self) -> list[Part]:
        """Return a program of some seconds."""
        parts = self._parts("m", depth=0, count=self._random.randint(8, 14))
        if self._random.random() < 0.1:
            parts.append(["raise", self._next()])
        return parts

    def write_sync(self) -> list[Part]:
        """Return a program for a flow that blocks a thread."""
        parts = [self._part_sync() for _ in range(self._random.randint(6, 10))]
        if self._random.random() < 0.1:
            parts.append(["raise", self._next()])
        return parts

    def _part_sync(self) -> Part:
        choose, value = self._random, self._next()
        simple: list[Part] = [
            ["toil", value, choose.choice((0, 0.05, 0.3))],
            ["toil", value, choose.choice((0, 0.05, 0.3))],
            ["pool", [self._next() for _ in range(choose.randint(2, 5))]],
            ["print", f"m prints {value}"],
            ["result", f"m tells {value}"],
            ["sleep", round(choose.uniform(0.05, 2.5), 2)],
            ["lock", f"q{value}"],
            ["receive", "m-m"],
            ["call", self._parts("m", depth=_CHILD, count=choose.randint(1, 3))],
        ]
        return choose.choice(simple)

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _parts(self, task: str, *, depth: int, count: int) -> list[Part]:
        return [self._part(f"{task}.{number}", task, depth) for number in range(count)]

    def _part(self, place: str, task: str, depth: int) -> Part:
        """Return a part, at a place of its own, of a task of the flow."""
        choose, value = self._random, self._next()
        seconds = round(choose.choice((0, 0, 0.05, 0.3)), 2)
        simple: list[Part] = [
            ["work", value, seconds],
            ["work", value, seconds],
            ["toil", value, min(seconds, 0.05)],
            ["thread", value, seconds],
            ["fail", value],
            ["shaky", value, choose.randint(1, 3)],
            ["many", [self._next() for _ in range(choose.randint(2, 6))]],
            ["print", f"{task} prints {value}"],
            ["print", f"{task} prints {value}"],
            ["result", f"{task} tells {value}"],
            ["sleep", round(choose.uniform(0.05, 2.5), 2)],
            ["lock", f"q{value}"],
        ]
        if depth < _CHILD:
            simple.append(["receive", f"m-{task}".replace(".", "-")])
        if depth < 2:
            tasks = [
                self._parts(f"{place}t{number}", depth=depth + 1, count=choose.randint(1, 3))
                for number in range(choose.randint(2, 3))
            ]
            child = self._parts("m", depth=_CHILD, count=choose.randint(1, 4))
            simple += [["tasks", *tasks], ["tasks", *tasks], ["call", child]]
            simple += [["call-failing", value]]
        return choose.choice(simple)


def expect(program: list[Part]) -> Expected:
    """Return what must come of a program."""
    expected = Expected()
    values = []
    counts: Counter[str] = Counter()
    for part in program:
        if part[0] == "raise":
            expected.error = f"bad {part[1]}"
            return expected
        values.append(_value(part, expected, counts))
    expected.result = values
    return expected


def _value(part: Part, expected: Expected, counts: Counter[str]) -> Any:
    what, *args = part
    match what:
        case "work" | "toil" | "thread" | "shaky":
            expected.names["toil" if what == "thread" else what] += 1
            return args[0] * 7 + 1
        case "fail":
            expected.names["fail"] += 1
            expected.failed += 1
            return f"ValueError no {args[0]}"
        case "many" | "pool":
            expected.names["work" if what == "many" else "toil"] += len(args[0])
            return [value * 7 + 1 for value in args[0]]
        case "tasks":
            return [[_value(each, expected, counts) for each in task] for task in args]
        case _:
            return _waited(what, args, expected, counts)


def _waited(what: str, args: list[Any], expected: Expected, counts: Counter[str]) -> Any:
    match what:
        case "print" | "result":
            task = args[0].split()[0]
            expected.texts[task].append(args[0])
            return None
        case "sleep":
            expected.names["sleep"] += 1
            return None
        case "lock":
            expected.locks.add(args[0])
            expected.names["lock"] += 1
            return answer_to(args[0])
        case "receive":
            expected.names["receive"] += 1
            counts[args[0]] += 1
            expected.messages.append((args[0], counts[args[0]]))
            return counts[args[0]]
        case "call":
            expected.names["call"] += 1
            expected.children.append(args[0])
            return expect(args[0]).result
        case "call-failing":
            expected.names["call"] += 1
            expected.failed += 1
            expected.children.append([["raise", args[0]]])
            return "failed"
    raise ValueError(f"no such action: {what}")


def answer_to(lock: str) -> int:
    """Return the value with which a lock is answered."""
    return int(lock[1:]) * 3
