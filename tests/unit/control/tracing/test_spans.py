"""The spans of executions that had several processes, steps, locks and files."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from koco import trace_context
from koco.control.events.spooler import Spooler
from koco.control.settings import Settings
from koco.control.tracing import spans
from koco.control.tracing.spans import Happening
from koco.events.model import Status
from koco.store.model import Answer, Execution, FailureEvent, NewExecution, NewFile
from koco.store.store import Store
from koco.trace_context import QUEUE, RUN, START


def _execution(**more: Any) -> Execution:
    fields: dict[str, Any] = {"id": 1, "fid": "f1", "flow": "svc/flow", "service": "svc"}
    fields |= {"release": 1, "status": Status.FINISHED, "inputs": {}, "user": "", "tags": ()}
    return Execution(**{**fields, "created": "2026-01-01T00:00:00.000000Z", **more})


def _events(*payloads: str | dict[str, Any]) -> list[Happening]:
    """Return statuses, a second apart."""
    return [
        Happening(
            f"2026-01-01T00:00:{second:02}.000000Z",
            "status",
            {"status": each} if isinstance(each, str) else each,
        )
        for second, each in enumerate(payloads)
    ]


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        (["queued", "starting", "running", "finished"], [(QUEUE, 1), (START, 1), (RUN, 1)]),
        # A runner died before it began, and another one took it: the attempt is the same.
        (
            ["queued", "starting", "queued", "starting", "running", "finished"],
            [(QUEUE, 1), (START, 1), (QUEUE, 1), (START, 1), (RUN, 1)],
        ),
        (["queued", "starting", "running", "awaiting", "running", "error"], [(RUN, 1)]),
        (
            [
                *("queued", "starting", "running"),
                {"status": "queued", "attempt": 2},
                *("starting", "running", "finished"),
            ],
            [(RUN, 1), (QUEUE, 2), (START, 2), (RUN, 2)],
        ),
        (
            [
                *("queued", "starting", "running", {"status": "sleeping", "parked": True}),
                {"status": "queued", "resumed": 1},
                *("starting", "running", "finished"),
            ],
            [(RUN, 1), (QUEUE, 2), (START, 2), (RUN, 2)],
        ),
        (["queued", "cancelled"], [(QUEUE, 1)]),
    ],
)
def test_each_attempt_has_its_phases(statuses: list[Any], wanted: list[tuple[str, int]]) -> None:
    """Numbered as the store numbers them, so that a runner knows the id of its run."""
    found, runs = spans._phases(_execution(), _events(*statuses))
    names = [
        (RUN if each.name.startswith("invoke") else each.name, each.attributes["koco.attempt"])
        for each in found
    ]
    assert names[-len(wanted) :] == wanted
    assert [each.span_id for each in runs] == [
        trace_context.span_id("f1", RUN, number) for what, number in names if what == RUN
    ]
    assert all(each.start_ns < each.end_ns for each in found)


def test_a_failed_attempt_that_another_one_followed_is_an_error() -> None:
    """The last one has the execution's own error."""
    error = FailureEvent(type="ValueError", message="no")
    statuses = ["queued", "starting", "running", {"status": "queued", "attempt": 2}]
    events = _events(*statuses, "starting", "running", "error")
    found, _ = spans._phases(_execution(status=Status.ERROR, error=error), events)
    errors = [each.error for each in found if each.name.startswith("invoke")]
    assert errors == ["_OTHER", "ValueError"]


def test_locks_and_files_are_below_the_run(tmp_path: Path) -> None:
    """Of an execution that has ended, as the store has it."""

    async def scenario() -> list[spans.Span]:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        brought = NewFile(path="in/a.txt", sha256="0" * 64, size_bytes=3)
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, files=(brought,))
        execution, _ = await store.executions.create(new)
        until_s = time.time() + 60
        await store.locks.open(execution.fid, "l1", name="ok", data=None, expires=until_s)
        await store.locks.answer("l1", Answer(value=True), by="ada")
        about: dict[str, Any] = {"name": "review", "data": None, "expires": until_s}
        await store.locks.open(execution.fid, "l2", **about, key="lock.review:0", position=1)
        await store.locks.answer("l2", Answer(value=True), by="bob")
        await store.executions.settle(execution.fid, Status.CANCELLED)
        ended = await store.executions.get(execution.fid)
        found = await spans.of(store, Spooler(store, Settings()), ended)
        await store.close()
        return found

    found = {each.name: each for each in asyncio.run(scenario())}
    locks = {"lock ok", "lock review"}
    assert found.keys() == {"launch svc/flow", "queue", "file in/a.txt", *locks}
    assert found["launch svc/flow"].error == "cancelled"
    assert found["lock ok"].attributes["koco.lock.by"] == "ada"
    recorded = found["lock review"].attributes
    assert (recorded["koco.lock"], recorded["koco.lock.by"]) == ("l2", "bob")
    assert recorded["koco.step"] == "lock.review:0"
    assert found["lock ok"].parent_id == found["launch svc/flow"].span_id
    assert found["file in/a.txt"].attributes["koco.file.size"] == 3
