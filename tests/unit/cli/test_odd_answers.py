"""Attacks by odd answers: whatever a control plane says of anything, no command calls it a bug.

Each command is run with each part of each answer left out, or something else than it should be.
"""

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.memory_plane import LATER, STATUS, TS, Plane
from tests.unit.conftest import Cli

#: What stands for a part of an answer instead; `GONE` is nothing at all.
GONE = object()
ODD: list[Any] = [None, True, -7, 10**400, "x", [], [1], {}, {"a": []}]

#: Whether each part is each of them, once.
_ALL = bool(os.environ.get("KOCO_EXAMPLES"))

SCHEDULE = {
    **{"cron": "0 7 * * *", "timezone": "UTC", "overlap": True, "catch_up": True, "next": LATER},
    **{"last": TS, "fid": "x", "missed": 1, "missed_at": LATER, "skipped": 1, "skipped_at": LATER},
    "trouble": "no",
}
MANIFEST = "service: hello\nflows:\n  - name: greet\n    entrypoint: app:greet\n"
STEP = {
    **{"action": "update", "release": 2, "parts": ["code"], "public": ["/x"], "drift": "x"},
    "files": [{"path": "a", "change": "changed", "old_bytes": 1, "new_bytes": 2}],
    "changes": [{"path": "runner.max", "part": "settings", "old": [1], "new": [2]}],
    "warnings": [{"message": "w", "hint": "h", "path": ["flows", 0]}],
}

COMMANDS = [
    "ps -a",
    "show ended",
    "show asks",
    "result ended",
    "result ended --html",
    "wait ended",
    "retry ended",
    "resume ended",
    "steps ended",
    "steps ended --export history.json",
    "send asks note",
    "delete ended --yes",
    "cancel asks",
    "delete --status finished --yes",
    "cancel --flow hello/greet --yes",
    "status",
    "doctor",
    "flows",
    "flows greet",
    "flows greet --schema",
    "flows --tags",
    "run greet -i who=x",
    "run greet -i who=x --wait",
    "inbox",
    "answer asks approval --inputs value.json",
    "releases hello",
    "releases hello 3",
    "rollback hello 2",
    "undeploy hello --yes",
    "plan",
    "deploy",
    "audit",
    "usage",
    "key list",
    "key create ci",
    "key rotate ci",
    "user list",
    "user disable ada",
    "user update ada --email a@b",
    "secret list",
    "secret set X -",
    "secret unset X",
]


@pytest.fixture
def full(plane: Plane, tmp_path: Any) -> Plane:
    """Return a plane that has everything that a command may tell of."""
    (tmp_path / "koco.yaml").write_text(MANIFEST)
    (tmp_path / "app.py").write_text("def greet(inputs, tracer): ...\n")
    (tmp_path / "value.json").write_text("1")
    relatives = {"parent": "asks", "resume_of": "x", "resumed": 1, "parked": True}
    more = {"waits": "x", "deadline": LATER, "attempt": 2, "attempts": 3, "tags": ["x"]}
    ended = plane.launch(("stdout", "hi"), fid="ended", **more, **relatives)
    plane.step(ended, "fetch:0")
    plane.step(ended, "sleep:0", "waiting", kind="sleep", due=LATER)
    plane.end(ended, "finished")
    asks = plane.launch(("status", {"status": "running"}), fid="asks")
    plane.lock(asks, form=None)
    plane.script = [("final", "x"), ("status", {"status": "finished"})]
    plane.flows["greet"] = {
        **plane.flows["greet"],
        "schedule": [SCHEDULE],
        "limits": {"retries": 1},
    }
    plane.status = copy.deepcopy(STATUS) | {"settings": {"max_running": 3}}
    load = {"flow": "greet", "running": 1, "waiting": 1, "max_running": 1, "max_queue": None}
    plane.status["services"][0] |= {"load": [load], "schedule": [{**SCHEDULE, "flow": "greet"}]}
    left = {"kind": "task", "name": "x", "service": "hello", "release": 1, "fid": None, "pid": 1}
    plane.status["left"] = [{**left, "node": "x", "detached": False}]
    plane.findings = [{"name": "x", "status": "ok", "message": "m", "hint": "h"}]
    error = {"message": "m", "hint": "h", "detail": "d"}
    origin = {"project": "x", "commit": "c", "dirty": True, "rollback_of": 1, "because": "b"}
    release = {"service": "hello", "number": 3, "status": "failed", "bundle": "ab" * 32}
    release |= {"created": TS, "ready": TS, "by": "x", "error": error, "origin": origin}
    release |= {"timings": {"import": 1.5}, "fallback": True, "retired": TS, "available": True}
    plane.history = [release]
    plane.releases = [release | {"status": "live", "flows": [{"name": "hello/greet"}]}]
    plane.steps["hello"] = STEP
    plane.services = [{"service": "hello", "release": 1, "status": "failed"}]
    names = ("who", "credential", "action", "target", "outcome", "address", "request")
    plane.audit = [{"seq": 1, "ts": TS, "detail": {"a": 1}} | dict.fromkeys(names, "x")]
    sums = {"executions": 3, "duration_s": 1.5, "event_bytes": 9, "file_bytes": 0}
    plane.usage = [{"flow": "a/b", "status": "error", **sums, "p50_s": 0.5, "p95_s": None}]
    reach = {"scopes": ["read"], "flows": ["*"], "all_executions": False}
    plane.key("ci", **reach, expires_s=1).update(last_used=TS, last_from="x")
    last = {"created": TS, "by": "x", "last_login": TS, "last_from": "x"}
    last |= {"active": True, "email": "x"}
    plane.users["ada"] = {"name": "ada", **reach, **last}
    plane.secrets["X"] = "x"
    return plane


def parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each part of a value, of a list's elements the first one's."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    inner = [*enumerate(value)][:1] if isinstance(value, list) else inner
    for name, each in inner:
        yield from parts(each, (*path, name))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """Return a value whose part at a path is another one."""
    if not path:
        return None if odd is GONE else odd
    value = copy.copy(value)
    if len(path) == 1 and odd is GONE:
        del value[path[0]]
    else:
        value[path[0]] = changed(value[path[0]], path[1:], odd)
    return value


def twisting(number: int, path: tuple[Any, ...], odd: Any) -> Callable[[Any], Any]:
    """Return what changes a part of the answer with a number, of those that a command gets."""
    seen = iter(range(10_000))

    def twist(value: Any) -> Any:
        try:
            return changed(value, path, odd) if next(seen) == number else value
        except (KeyError, IndexError, TypeError):
            return value  # another answer than the first time

    return twist


@pytest.mark.parametrize("line", COMMANDS)
def test_an_odd_answer_is_never_called_a_bug(
    full: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """It is an error that names the server, or makes no difference."""
    told: list[Any] = []
    args = line.split()
    clean = copy.deepcopy({**vars(full), "changed": None})

    def ran(twist: Callable[[Any], Any]) -> Any:
        vars(full).update(copy.deepcopy(clean) | {"changed": full.changed, "twist": twist})
        return cli(*args, stdin="secret")

    def note(value: Any) -> Any:
        told.append(value)
        return value

    first = ran(note)
    assert told and first.code in (0, 5), first
    tried, turns = 0, itertools.cycle((GONE, *ODD))
    for number, value in enumerate(told):
        for path in parts(json.loads(json.dumps(value))):
            # All of them take minutes; so each of them has its turn at some part.
            for odd in (next(turns),) if not _ALL else (GONE, *ODD):
                found = ran(twisting(number, path, odd))
                assert "bug" not in found.err, (number, path, odd, found)
                assert found.code in (0, 1, 2, 3, 4, 5), (number, path, odd, found)
                tried += 1
    assert tried >= 2
