"""`koco.Client` and `koco.AsyncClient` against real HTTP."""

import asyncio
import inspect
import pydoc
import threading
import time as clock
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from koco import AsyncClient, Client
from koco.errors import (
    CancelledError,
    ConflictError,
    FlowError,
    InputsError,
    NotFoundError,
    TimedOutError,
    UsageError,
)
from tests.support import memory_plane
from tests.support.memory_plane import KEY, Plane

FORM = [
    {"type": "text", "name": "who", "label": "Who", "required": True},
    {"type": "number", "name": "times", "label": "Times", "required": False, "value": 3},
]
GREET = {
    "name": "hello/greet",
    "short": "greet",
    "service": "hello",
    "release": 1,
    "summary": "Greet somebody",
    "description": "As often as you say.",
    "form": FORM,
    "tags": [],
}
DONE = [("status", {"status": "running"}), ("final", "hi"), ("status", {"status": "finished"})]


@pytest.fixture
def plane() -> Iterator[Plane]:
    with memory_plane.serving() as plane:
        plane.flows["greet"] = GREET
        yield plane


@pytest.fixture
def client(plane: Plane) -> Iterator[Client]:
    with Client(url=plane.url, key=KEY) as client:
        yield client


def later(work: Any, *args: Any) -> None:
    threading.Timer(0.2, work, args).start()


def finish(plane: Plane, fid: str, result: Any = "hi") -> None:
    plane.emit(fid, "final", result)
    plane.end(fid, "finished")


def test_run_returns_an_execution_and_its_result(plane: Plane, client: Client) -> None:
    """Launched once, whatever becomes of the connection: each run has a key of its own."""
    plane.script = DONE
    execution = client.run("hello/greet", {"who": "Ada"})
    assert execution.result() == "hi"
    assert execution.status == "finished"
    again = client.run("greet", {"who": "Ada"})
    assert again != execution
    assert client.execution(execution.fid) == execution
    assert all(key is not None and key.startswith("run-") for key in plane.keys)
    assert len(set(plane.keys)) == 2


def test_a_key_launches_once(plane: Plane, client: Client) -> None:
    """The second call meets the same execution."""
    first = client.run("greet", {"who": "Ada"}, key="order-7")
    assert client.run("greet", {"who": "Ada"}, key="order-7") == first
    assert plane.keys == ["order-7", "order-7"]


def test_a_webhook_is_told(plane: Plane, client: Client) -> None:
    """Its secret comes with the execution."""
    execution = client.run("greet", {"who": "Ada"}, webhook="https://example.com/hook")
    assert execution.webhook_secret == "whsec_dGVzdA=="
    assert client.run("greet", {"who": "Ada"}).webhook_secret is None


def test_result_waits_for_the_end(plane: Plane, client: Client) -> None:
    """Without asking again and again."""
    execution = client.run("greet", {"who": "Ada"})
    later(finish, plane, execution.fid)
    began = clock.monotonic()
    assert execution.result() == "hi"
    assert clock.monotonic() - began < 15
    looks = [path for _, path, _ in plane.requests if path.endswith(f"/executions/{execution.fid}")]
    assert len(looks) < 8


def test_a_result_that_does_not_come_in_time(plane: Plane, client: Client) -> None:
    """The error says what the execution does, and that it goes on."""
    execution = client.run("greet", {"who": "Ada"})
    with pytest.raises(TimedOutError, match=f"{execution.fid} is running after 0.2 s") as caught:
        execution.result(timeout=0.2)
    assert caught.value.hint == "the execution goes on"
    assert execution.status == "running"


def test_an_error_is_raised_with_its_facts(plane: Plane, client: Client) -> None:
    """Type, reason and traceback, as a flow gets them that calls another one."""
    failure = {"type": "ValueError", "message": "no such city", "traceback": "Traceback …"}
    plane.script = [("error", failure), ("status", {"status": "error"})]
    execution = client.run("greet", {"who": "Ada"})
    with pytest.raises(FlowError, match="failed: ValueError: no such city") as caught:
        execution.result()
    error = caught.value
    assert (error.fid, error.type, error.reason) == (execution.fid, "ValueError", "no such city")
    assert error.traceback == "Traceback …"


def test_a_cancelled_execution_has_no_result(plane: Plane, client: Client) -> None:
    """It is told by an error of its own."""
    execution = client.run("greet", {"who": "Ada"})
    execution.cancel()
    plane.end(execution.fid, "cancelled")
    with pytest.raises(CancelledError, match=f"{execution.fid} was cancelled"):
        execution.result()


def test_refused_inputs_are_told_by_field(client: Client) -> None:
    """As the form says it."""
    with pytest.raises(InputsError) as caught:
        client.run("greet", {"who": "nobody"})
    assert caught.value.errors["who"] == ["must be somebody", "must be known"]


def test_what_is_not_there(client: Client) -> None:
    """Flows and executions."""
    with pytest.raises(NotFoundError, match="no flow is called 'great'"):
        client.run("great")
    with pytest.raises(NotFoundError, match="no execution is called 'zz'"):
        client.execution("zz")


def test_events_are_followed_to_the_end(plane: Plane, client: Client) -> None:
    """In order, as dictionaries; without `follow` only those till now."""
    execution = client.run("greet", {"who": "Ada"})
    plane.emit(execution.fid, "stdout", "one")
    assert [event["payload"] for event in execution.events(follow=False)] == ["one"]
    later(finish, plane, execution.fid)
    events = list(execution.events(since=1))
    assert [event["kind"] for event in events] == ["final", "status"]
    assert [event["seq"] for event in events] == [2, 3]


def test_only_the_kinds_that_are_asked_for(plane: Plane, client: Client) -> None:
    """A stream has the final status in any case, but a program has not asked for it."""
    execution = client.run("greet", {"who": "Ada"})
    plane.emit(execution.fid, "stdout", "one")
    finish(plane, execution.fid)
    assert [event["payload"] for event in execution.events(kinds=["stdout"])] == ["one"]
    kinds = [event["kind"] for event in execution.events(kinds=["final", "status"])]
    assert kinds == ["final", "status"]


def test_dates_and_the_like_are_the_texts_of_forms(plane: Plane, client: Client) -> None:
    """So that a program need not write them itself; also in answers."""

    class Size(Enum):
        SMALL = "s"

    given = {"who": date(2026, 1, 31), "times": [Size.SMALL, time(9, 30)], "a": {"b": Decimal("1")}}
    client.run("greet", given)
    [execution] = plane.executions.values()
    assert execution["inputs"] == {
        "who": "2026-01-31",
        "times": ["s", "09:30:00"],
        "a": {"b": "1"},
    }


def test_the_only_lock_needs_no_name(plane: Plane, client: Client) -> None:
    """`wait` returns when it opens."""
    execution = client.run("greet", {"who": "Ada"})
    later(plane.lock, execution.fid, "approval", {"text": "may I?"})
    assert execution.wait("awaiting", timeout=30) == "awaiting"
    [lock] = execution.locks()
    assert lock["data"] == {"text": "may I?"}
    assert [each["lid"] for each in client.locks()] == [lock["lid"]]
    execution.answer({"yes": True})
    assert plane.locks[lock["lid"]]["answer"] == {"yes": True}
    with pytest.raises(ConflictError, match="does not wait for an answer"):
        execution.answer({"yes": True})


def test_one_of_several_locks_is_named(plane: Plane, client: Client) -> None:
    """The error names them."""
    execution = client.run("greet", {"who": "Ada"})
    for name in ("first", "second"):
        plane.lock(execution.fid, name)
    with pytest.raises(UsageError, match="several answers") as caught:
        execution.answer(1)
    assert caught.value.hint == "`lock` is one of: first, second"
    execution.answer(1, lock="second")
    assert [lock["name"] for lock in execution.locks()] == ["first"]


def test_a_status_that_does_not_exist(client: Client) -> None:
    """It would be waited for without end."""
    execution = client.run("greet", {"who": "Ada"})
    with pytest.raises(UsageError, match="no status is called 'done'"):
        execution.wait("done")


def test_a_flow_is_a_function(plane: Plane, client: Client) -> None:
    """Its signature is made of the flow's form, its documentation of the manifest."""
    plane.script = DONE
    greet = client.flow("hello/greet")
    parameters = inspect.signature(greet).parameters
    assert list(parameters) == ["who", "times"]
    assert (parameters["who"].annotation, parameters["who"].default) == (
        str,
        inspect.Parameter.empty,
    )
    assert parameters["times"].default == 3
    assert greet.__name__ == "greet"
    shown = pydoc.plain(pydoc.render_doc(greet))
    assert "greet(*, who: str, times: float | None = 3)" in shown
    assert "As often as you say." in shown
    assert greet(who="Ada") == "hi"
    assert greet.run(who="Ada", times=2).result() == "hi"
    assert plane.executions[list(plane.executions)[-1]]["inputs"] == {"who": "Ada", "times": 2}


def test_a_wrong_call_of_a_flow_is_not_sent(plane: Plane, client: Client) -> None:
    """It is a TypeError, as of any function."""
    greet = client.flow("greet")
    with pytest.raises(TypeError, match="missing a required"):
        greet()
    with pytest.raises(TypeError, match="unexpected keyword argument 'whom'"):
        greet.run(who="Ada", whom="Bob")
    assert plane.executions == {}


def test_paths_are_uploaded(plane: Plane, client: Client, tmp_path: Path) -> None:
    """A file becomes a reference, a folder a list of them; texts stay texts."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"alpha")
    (tmp_path / "b.txt").write_bytes(b"beta")
    client.run(
        "greet",
        {"who": "@b.txt", "file": tmp_path / "b.txt", "all": [tmp_path / "in", "text"]},
    )
    [execution] = plane.executions.values()
    inputs = execution["inputs"]
    assert inputs["who"] == "@b.txt"
    assert inputs["file"]["$file"]["name"] == "b.txt"
    assert [each["$file"]["name"] for each in inputs["all"][:-1]] == ["in/a.txt"]
    assert inputs["all"][-1] == "text"
    assert sorted(plane.blobs.values()) == [b"alpha", b"beta"]
    with pytest.raises(NotFoundError, match="no such file"):
        client.run("greet", {"file": tmp_path / "none"})


def test_executions_by_filters(plane: Plane, client: Client) -> None:
    """From as many pages as it takes, or up to a limit."""
    for _ in range(205):
        plane.launch(*DONE)
    plane.launch(("status", {"status": "running"}))
    assert len(list(client.executions(statuses=["finished"]))) == 205
    assert len(list(client.executions(limit=150))) == 150
    assert list(client.executions(limit=0)) == []


def test_where_the_control_plane_is(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for the command line: arguments first, then the environment."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path))
    monkeypatch.setenv("KOCO_URL", plane.url)
    monkeypatch.setenv("KOCO_KEY", KEY)
    with Client() as client:
        assert client.url == plane.url
        assert [flow["name"] for flow in client.flows()] == ["hello/greet"]
    with pytest.raises(UsageError, match="a key needs a URL"):
        Client(key="koco_x")
    with pytest.raises(UsageError, match="a context has a URL of its own"):
        Client("local", url=plane.url)
    with pytest.raises(NotFoundError, match="there is no context 'nowhere'"):
        Client("nowhere")


def test_waiting_goes_on_while_the_control_plane_is_away(plane: Plane, client: Client) -> None:
    """It comes back, and the result with it."""
    execution = client.run("greet", {"who": "Ada"})

    def restart() -> None:
        plane.away = True
        finish(plane, execution.fid)
        clock.sleep(0.5)
        plane.away = False

    later(restart)
    assert execution.result(timeout=60) == "hi"


def test_many_results_are_awaited_at_once(plane: Plane) -> None:
    """One connection tells of all of them."""

    async def work() -> list[Any]:
        async with AsyncClient(url=plane.url, key=KEY) as client:
            executions = [await client.run("greet", {"who": "Ada"}) for _ in range(60)]

            def end() -> None:
                for execution in executions:
                    finish(plane, execution.fid, execution.fid)
                    clock.sleep(0.01)

            later(end)
            results = await asyncio.gather(*(each.result() for each in executions))
            assert results == [each.fid for each in executions]
            return results

    assert len(asyncio.run(work())) == 60
    waits = [path for _, path, _ in plane.requests if path.startswith("/v1/changes")]
    assert waits


def test_async_events_and_flows(plane: Plane) -> None:
    """A stream that is left early does not keep the program."""

    async def work() -> None:
        async with AsyncClient(url=plane.url, key=KEY) as client:
            execution = await client.run("greet", {"who": "Ada"})
            plane.emit(execution.fid, "stdout", "one")
            async for event in execution.events():
                assert event["payload"] == "one"
                break
            later(finish, plane, execution.fid)
            assert [each["kind"] async for each in execution.events(since=1)] == ["final", "status"]
            assert await execution.status() == "finished"
            greet = await client.flow("greet")
            assert list(inspect.signature(greet).parameters) == ["who", "times"]
            plane.script = DONE
            assert await greet(who="Ada") == "hi"
            assert [each.fid async for each in client.executions(limit=1)]
            with pytest.raises(TypeError, match="missing a required"):
                await greet()

    asyncio.run(work())


def test_both_clients_have_the_same_methods() -> None:
    """What one can do, the other can."""
    from koco.python_client import asynchronous, client, execution

    for one, other in (
        (client.Client, asynchronous.AsyncClient),
        (execution.Execution, asynchronous.AsyncExecution),
        (execution.Files, asynchronous.AsyncFiles),
        (client.Flow, asynchronous.AsyncFlow),
    ):
        names = {name for name in vars(one) if not name.startswith("_")} - {"outcome"}
        assert names == {name for name in vars(other) if not name.startswith("_")}, one
        for name in names:
            if inspect.isfunction(getattr(one, name)):
                its, of_other = (inspect.signature(getattr(each, name)) for each in (one, other))
                assert list(its.parameters) == list(of_other.parameters), (one, name)


def test_what_a_notebook_shows(plane: Plane, client: Client) -> None:
    """Status and progress, then the result or the error; markup of others is text, or framed."""
    execution = client.run("greet", {"who": "Ada"})
    plane.executions[execution.fid]["progress"] = {"done": 3, "total": 12, "message": "<b>pages"}
    shown = execution._repr_html_()
    assert "running" in shown
    assert '<progress value="3" max="12">' in shown
    assert "3 of 12 &lt;b&gt;pages" in shown
    finish(plane, execution.fid, {"a": "<script>"})
    assert "&lt;script&gt;" in execution._repr_html_()
    failure = {"type": "ValueError", "message": "<i>no", "traceback": None}
    plane.script = [("error", failure), ("status", {"status": "error"})]
    assert "ValueError: &lt;i&gt;no" in client.run("greet", {"who": "Ada"})._repr_html_()
    plane.executions.clear()
    assert "no execution is called" in execution._repr_html_()
