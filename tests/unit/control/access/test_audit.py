"""The audit log: what is in it, who wrote it, and that nothing of it changes."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.control.access.audit import Audit
from koco.store.model import AuditEntry, AuditQuery, Key, NewExecution
from koco.store.store import Store
from tests.support.api_server import Api, serving


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        digest = hashlib.sha256(b"root").digest()
        key = Key(name="root", digest=digest, scopes=("admin",), created="")
        api.call(api.parts.store.keys.put(key))
        yield api


def told(api: Api, **query: Any) -> list[AuditEntry]:
    """Return what the log has, oldest first."""
    page = api.call(api.parts.store.audit.page(AuditQuery(**query), limit=1000))
    items: list[AuditEntry] = page.items
    return items[::-1]


def test_logs_a_change_with_caller_address_and_request_id(api: Api) -> None:
    """The entry is committed before the answer; `latest` is logged as the execution's fid."""
    fid = api.execution()
    with api.http() as client:
        answer = client.post(
            "/v1/executions/latest/cancel", content=b"", headers={"X-Request-ID": "it-1"}
        )
    assert answer.status_code == 202
    [entry] = told(api)
    assert (entry.who, entry.credential, entry.address) == ("ada", "key:ada", "127.0.0.1")
    assert (entry.action, entry.target, entry.outcome) == ("cancel_execution", fid, "ok")
    assert entry.request == "it-1"


def test_logs_a_refused_change_with_its_error_code(api: Api) -> None:
    """For a missing scope, a missing object, and invalid input."""
    api.execution()
    digest = hashlib.sha256(b"reader").digest()
    key = Key(name="reader", digest=digest, scopes=("read",), created="", sees_all=True)
    api.call(api.parts.store.keys.put(key))
    with api.http("reader") as client:
        client.post("/v1/executions/latest/cancel")
    with api.http() as client:
        client.post("/v1/executions/nothing/cancel")
        client.post("/v1/executions/latest/cancel", content=b"[1]")
    assert [(each.who, each.target[:7], each.outcome) for each in told(api)] == [
        ("reader", "latest", "not_allowed"),
        ("ada", "nothing", "not_found"),
        ("ada", "latest", "usage"),
    ]


def test_logs_reads_only_if_they_are_refused(api: Api) -> None:
    """A permitted read leaves no entry."""
    api.execution()
    with api.http() as client:
        client.get("/v1/executions")
        client.get("/v1/executions/latest")
        client.get("/v1/executions/nothing")
        client.get("/v1/secrets")
    assert [(each.action, each.outcome) for each in told(api)] == [("list_secrets", "not_allowed")]


def test_ten_thousand_wrong_keys_make_two_entries(tmp_path: Path) -> None:
    """The first one in a minute is logged at once, the others as a count."""

    async def go(store: Store) -> list[AuditEntry]:
        audit = Audit(store)
        for number in range(10_000):
            wrong = AuditEntry(
                action="list_executions", outcome="unauthorized", address="192.0.2.7"
            )
            await audit.note(wrong)
            if number == 0:
                assert len((await store.audit.page(AuditQuery())).items) == 1
        await audit.sum_up()
        return (await store.audit.page(AuditQuery())).items

    items = within(tmp_path, go)
    assert [each.detail.get("count") for each in items] == [9_999, None]
    assert {each.address for each in items} == {"192.0.2.7"}


def test_wrong_keys_from_many_addresses_fill_neither_memory_nor_disk(tmp_path: Path) -> None:
    """Beyond a limit, all are summed into one entry."""

    async def go(store: Store) -> list[AuditEntry]:
        audit = Audit(store)
        for number in range(10_000):
            wrong = AuditEntry(
                action="show_flow", outcome="unauthorized", address=f"2001::{number:x}"
            )
            await audit.note(wrong)
        await audit.sum_up()
        return (await store.audit.page(AuditQuery(), limit=1000)).items

    items = within(tmp_path, go)
    assert len(items) <= 401
    assert sum(each.detail.get("count", 1) for each in items) == 10_000


def test_logs_the_first_refusals_of_a_known_caller_one_by_one(tmp_path: Path) -> None:
    """The first twenty in a minute have an entry each, the others are counted."""

    async def go(store: Store) -> list[AuditEntry]:
        audit = Audit(store)
        for number in range(25):
            await audit.note(
                AuditEntry(
                    action="undeploy",
                    who="eve",
                    credential="key:eve",
                    target=f"service-{number}",
                    outcome="forbidden",
                )
            )
        await audit.sum_up()
        return (await store.audit.page(AuditQuery())).items

    items = within(tmp_path, go)
    assert [each.target for each in items[1:]] == [f"service-{n}" for n in range(19, -1, -1)]
    assert (items[0].who, items[0].detail) == ("eve", {"count": 5})


def test_a_launch_and_its_entry_are_one_transaction(tmp_path: Path) -> None:
    """Neither exists without the other."""

    async def go(store: Store) -> None:
        note = AuditEntry(action="launch", who="ada", address="192.0.2.7", request="it-2")
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, audited=note)
        execution, _ = await store.executions.create(new)
        [entry] = (await store.audit.page(AuditQuery())).items
        assert (entry.target, entry.detail) == (execution.fid, {"flow": "svc/flow"})
        await store.engine.write(lambda db: db.execute("DROP TABLE audit"))
        with pytest.raises(Exception, match="audit"):
            await store.executions.create(new)
        assert len((await store.executions.page()).items) == 1

    within(tmp_path, go)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM audit",
        "REPLACE INTO audit SELECT seq, ts, 'nobody', credential, action, target, outcome,"
        " address, request, detail FROM audit",
    ],
)
def test_entries_cannot_be_changed(tmp_path: Path, change: str) -> None:
    """The database itself refuses to change or remove one."""

    async def go(store: Store) -> None:
        await store.audit.add([AuditEntry(action="undeploy", who="ada")])
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await store.engine.write(lambda db: db.execute(change))
        assert [each.who for each in (await store.audit.page(AuditQuery())).items] == ["ada"]

    within(tmp_path, go)


def test_filters_match_their_fields(tmp_path: Path) -> None:
    """Who, action, target with everything below it, outcome and time; SQL is only text."""

    async def go(store: Store) -> None:
        await store.audit.add(
            [
                AuditEntry(action="create_release", who="ada", target="hello"),
                AuditEntry(action="undeploy", who="bob", target="hello", outcome="not_allowed"),
                AuditEntry(action="set_secret", who="ada", target="hello/KEY"),
                AuditEntry(action="set_secret", who="ada", target="hello2", outcome="conflict"),
            ]
        )
        middle = (await store.audit.page(AuditQuery())).items[0].ts

        async def count(**query: Any) -> int:
            return len((await store.audit.page(AuditQuery(**query))).items)

        assert await count(who="ada") == 3
        assert await count(who="ada' OR '1'='1") == 0
        assert await count(action="set_secret") == 2
        assert await count(target="hello") == 3
        assert await count(target="%") == 0
        assert await count(outcome="ok") == 2
        assert await count(outcome="refused") == 2
        assert await count(outcome="conflict", who="ada") == 1
        assert await count(since=middle) == 4
        assert await count(until=middle) == 0

    within(tmp_path, go)


def test_pages_stay_correct_while_the_log_grows(tmp_path: Path) -> None:
    """Newest first, and each entry once."""

    async def go(store: Store) -> None:
        await store.audit.add([AuditEntry(action="a", target=str(n)) for n in range(5)])
        page = await store.audit.page(AuditQuery(), limit=2)
        await store.audit.add([AuditEntry(action="a", target="late")])
        targets = [each.target for each in page.items]
        while page.next:
            page = await store.audit.page(AuditQuery(), limit=2, cursor=page.next)
            targets += [each.target for each in page.items]
        assert targets == ["4", "3", "2", "1", "0"]

    within(tmp_path, go)


def test_the_api_shows_the_log_only_to_admins(api: Api) -> None:
    """With the filters, and times in any form of RFC 3339."""
    api.execution()
    with api.http() as client:
        client.post("/v1/executions/latest/cancel")
        assert client.get("/v1/audit").status_code == 403
    with api.http("root") as client:
        query = {"who": "ada", "since": "2020-01-01T00:00:00+02:00", "outcome": "ok"}
        page = client.get("/v1/audit", params=query).json()
        assert [each["action"] for each in page["items"]] == ["cancel_execution"]
        assert client.get("/v1/audit", params={"since": "yesterday"}).status_code == 400


def test_a_change_that_cannot_be_logged_is_answered_with_a_failure(api: Api) -> None:
    """The change was made but may not be relied on; a refusal stays a refusal."""
    api.execution()
    api.call(api.parts.store.engine.write(lambda db: db.execute("DROP TABLE audit")))
    with api.http() as client:
        answer = client.post("/v1/executions/latest/cancel")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "store"
        assert "is not in the audit log" in answer.json()["detail"]
        assert client.post("/v1/executions/latest/cancel").status_code == 409


def test_a_flows_own_file_changes_are_only_in_its_events(api: Api) -> None:
    """There may be thousands. Refused ones are logged."""
    fid = api.execution()
    sha256 = hashlib.sha256(b"1").hexdigest()
    with api.http(api.parts.files.token(fid)) as flow:
        place = {"Upload-Offset": "0", "Upload-Length": "1"}
        assert flow.patch(f"/v1/blobs/{sha256}", content=b"1", headers=place).status_code == 204
        file = {"sha256": sha256, "size_bytes": 1}
        assert flow.put(f"/v1/executions/{fid}/files/out/a", json=file).status_code == 200
        assert flow.put(f"/v1/executions/{fid}/files/in/a", json=file).status_code == 403
    [entry] = told(api)
    assert (entry.credential, entry.action, entry.outcome) == (
        f"flow:{fid}",
        "put_file",
        "not_allowed",
    )


def test_a_failed_login_is_logged_only_with_an_existing_name(api: Api) -> None:
    """Any other text may be a password that was typed into the wrong field."""
    password = "correct horse battery staple"
    with api.http("root") as client:
        body = {"name": "grace", "password": password}
        assert client.post("/v1/users", json=body).status_code == 201
    login = {"name": password, "password": "x"}
    with api.http() as client:
        del client.headers["Authorization"]
        assert client.post("/v1/session", json=login).status_code == 401
        login = {"name": "grace", "password": password}
        assert client.post("/v1/session", json=login).status_code == 201
    made, failed, begun = told(api)
    assert (made.action, made.target, made.who) == ("create_user", "grace", "root")
    assert (failed.action, failed.target, failed.who) == ("create_session", "", "")
    assert (begun.who, begun.outcome) == ("grace", "ok")


def within(path: Path, work: Any) -> Any:
    """Run a coroutine on an open store."""

    async def go() -> Any:
        store = Store.at(path / "store.db")
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(go())
