"""The surface that all protocols of agents share: sight, scopes, audit, waiting."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from koco.api.agents.calls import Calls
from koco.api.http.request import Request
from koco.control.access.caller import Caller
from koco.errors import NotAllowedError, NotFoundError, UnauthorizedError
from koco.events.model import Status
from koco.store.model import NewFile
from tests.support.api_server import Api, serving
from tests.support.releases import flow
from tests.support.whole_api import complete

FLOWS = (
    flow("flow", tags=("a",)),
    flow("apart", expose=("mip003",)),
    flow("page", page=True),
    flow("hidden", expose=()),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api, flows=FLOWS))
        yield api


def calls(api: Api, name: str = "ada", *scopes: str, **more: Any) -> Calls:
    """Return the calls of a request by a caller."""
    app = SimpleNamespace(state=SimpleNamespace(parts=api.parts))
    scope: Any = {"type": "http", "method": "POST", "path": "/x", "headers": []}
    caller = Caller(
        name=name, scopes=frozenset(scopes or ("launch",)), credential=f"key:{name}", **more
    )
    more_of_it = {"litestar_app": app, "auth": caller, "path_params": {}}
    return Calls(Request({**scope, **more_of_it}))


def test_lists_the_flows_that_are_exposed(api: Api) -> None:
    """Over the protocol that asks; neither pages nor flows that the key may not see."""

    def names(protocol: str, **more: Any) -> list[str]:
        return [each.name for each in calls(api, **more).flows(protocol)]

    assert names("mcp") == names("a2a") == ["svc/flow"]
    assert names("mip003") == ["svc/apart"]
    assert names("mcp", flows=("other/*",)) == []
    assert calls(api).flow("svc/flow", "mcp").name == "svc/flow"
    for name, more in (("svc/apart", {}), ("flow", {}), ("svc/flow", {"flows": ("other/*",)})):
        with pytest.raises(NotFoundError):
            calls(api, **more).flow(name, "mcp")


def test_launches_once_for_each_key(api: Api) -> None:
    """With tags of the protocol's beside the flow's own."""
    own = calls(api)
    entry = own.flow("svc/flow", "mcp")
    first, is_new = api.call(own.launch(entry, {"a": 1}, key="k1", tags=("t",)))
    again, is_newer = api.call(calls(api).launch(entry, {"a": 1}, key="k1"))
    assert (is_new, is_newer, again.fid) == (True, False, first.fid)
    assert first.tags == ("a", "t")


def test_changes_need_the_scope_launch(api: Api) -> None:
    """As on `/v1`."""
    own, fid = calls(api, "ada", "read"), api.execution()
    for work in (
        own.launch(calls(api).flow("svc/flow", "mcp"), {}),
        own.cancel(fid),
        own.answer(fid, "lid", True),
    ):
        with pytest.raises(NotAllowedError, match="no scope 'launch'"):
            api.call(work)


def test_an_execution_has_one_name_and_only_for_its_caller(api: Api) -> None:
    """Neither a prefix nor `latest`: another execution may be called so tomorrow."""
    fid = api.execution()
    assert api.call(calls(api).execution(fid)).fid == fid
    for name, user in ((fid[:-1], "ada"), ("latest", "ada"), ("", "ada"), (fid, "bob")):
        with pytest.raises(NotFoundError):
            api.call(calls(api, user).execution(name))
    with pytest.raises(NotFoundError):
        api.call(calls(api, "bob").cancel(fid))


def test_waits_until_a_person_is_asked_and_until_the_end(api: Api) -> None:
    """And not longer than it was told."""
    own, fid, parts = calls(api), api.execution(), api.parts
    execution = api.call(own.execution(fid))

    async def wait_for(change: Any) -> Status:
        waiting = asyncio.create_task(own.wait(execution, seconds=30))
        await asyncio.sleep(0.05)
        await change
        parts.spooler.wake(fid)
        return (await waiting).status

    assert api.call(own.wait(execution, seconds=0.05)).status is Status.QUEUED
    api.sql(f"UPDATE executions SET status = 'running' WHERE fid = '{fid}'")
    opened = parts.locks.open(fid, "lid1", name="review", data={"a": 1}, timeout_s=60)
    assert api.call(wait_for(opened)) is Status.AWAITING
    (lock,) = api.call(own.locks(execution))
    assert (lock.lid, api.call(own.form(lock))) == ("lid1", None)
    answer = api.call(own.answer(fid, "lid1", {"ok": True}))
    assert (answer.by, answer.answer) == ("ada", {"ok": True})
    assert api.call(own.locks(execution)) == []
    settled = parts.store.executions.settle(fid, Status.CANCELLED)
    assert api.call(wait_for(settled)) is Status.CANCELLED


def test_follows_events_to_the_end(api: Api) -> None:
    """In order, from an event on, only of the wanted kinds, and always the final status."""
    own, fid = calls(api), api.execution()
    execution = api.call(own.execution(fid))

    async def read(**wanted: Any) -> list[tuple[int, str]]:
        events = own.events(execution, **wanted)
        return [(each.seq, each.kind) async for each in events if each]

    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    found = api.call(read())
    assert [seq for seq, _ in found] == [*range(1, len(found) + 1)]
    assert found[-1][1] == "status"
    assert api.call(read(after=found[-2][0])) == found[-1:]
    assert api.call(read(kinds=frozenset({"stdout"}))) == found[-1:]


def test_reads_files_up_to_a_size(api: Api) -> None:
    """By default those in `out/`, which the flow has made."""
    sha256 = api.upload(b"text")
    files = tuple(NewFile(path=f"{root}/a", sha256=sha256, size_bytes=4) for root in ("in", "out"))
    own = calls(api)
    entry = own.flow("svc/flow", "mcp")
    execution, _ = api.call(own.launch(entry, {}))
    for each in files:
        api.sql(
            "INSERT INTO files (execution, path, sha256, size_bytes, created, by)"
            f" VALUES ({execution.id}, '{each.path}', '{sha256}', 4, '', 'ada')"
        )
    (file,) = api.call(own.files(execution))
    assert (file.path, api.call(own.content(file, most_bytes=4))) == ("out/a", b"text")
    with pytest.raises(Exception, match="more than 3 bytes"):
        api.call(own.content(file, most_bytes=3))


def test_the_audit_log_says_what_was_tried(api: Api) -> None:
    """Refusals by their code, as on `/v1`, whatever status the protocol's answer has."""
    own = calls(api)
    with pytest.raises(NotFoundError):
        api.call(own.cancel("nosuchexecution1"))
    notes = own.request.scope["koco.audit"]
    assert (notes.action, notes.target, notes.code) == (
        *("cancel_execution", "nosuchexecution1", "not_found"),
    )


def test_a_wait_ends_with_its_callers_key(api: Api) -> None:
    """Streams and waits are counted together."""
    own = calls(api, "leaver")

    async def wait() -> None:
        with own.waiting():
            asyncio.get_running_loop().call_later(0.05, api.parts.streams.end, "key:leaver")
            await asyncio.sleep(30)

    with pytest.raises(UnauthorizedError):
        api.call(wait())
