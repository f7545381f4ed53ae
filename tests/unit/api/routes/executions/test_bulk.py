"""Many executions are deleted or cancelled at once, over a real socket."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.control.executions import bulk
from koco.events.model import Status
from koco.store.model import AuditQuery
from tests.support.api_server import Api, serving


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("dora", "admin")
        yield api


def make(api: Api, *, ended: bool = True, **more: Any) -> str:
    return api.execution(Status.FINISHED if ended else None, **more)


def ask(api: Api, action: str, key: str = "ada", *, code: int = 200, **params: Any) -> Any:
    method, path = {
        "delete": ("DELETE", "/v1/executions"),
        "cancel": ("POST", "/v1/executions/cancel"),
    }[action]
    with api.http(key) as client:
        answer = client.request(method, path, params=params)
        assert answer.status_code == code, answer.text
        return answer.json()


def left(api: Api) -> set[str]:
    page = api.call(api.parts.store.executions.page(limit=1000))
    return {each.fid for each in page.items}


def test_named_executions_are_deleted(api: Api) -> None:
    """By whole fids or their beginnings; others are skipped with the reason."""
    one, two, running = make(api), make(api), make(api, ended=False)
    answer = ask(api, "delete", fid=[one, two[:12], running, "zzzz", "latest", one])
    assert answer["deleted"] == [one, two]
    assert [(each["fid"], each["code"]) for each in answer["skipped"]] == [
        (running, "conflict"),
        ("zzzz", "not_found"),
        ("latest", "not_found"),
    ]
    assert "has not ended" in answer["skipped"][0]["reason"]
    assert answer["next"] is None
    assert left(api) == {running}


def test_a_filter_deletes_only_what_has_ended(api: Api) -> None:
    """All parameters must match, as in lists."""
    gone = [make(api, tags=("old",)), make(api, tags=("old",))]
    kept = [make(api), make(api, tags=("old",), ended=False), make(api, flow="svc/other")]
    answer = ask(api, "delete", tag="old", flow="svc/flow")
    assert (sorted(answer["deleted"]), answer["skipped"]) == (sorted(gone), [])
    assert left(api) == set(kept)
    assert ask(api, "delete", until="1h")["deleted"] == []
    assert ask(api, "delete", status="queued,finished", since="1h")["skipped"] != []
    assert left(api) == {kept[1]}


def test_the_executions_of_others_are_as_if_they_did_not_exist(api: Api) -> None:
    """An admin sees all."""
    fid = make(api)
    assert ask(api, "delete", "bob", status="finished")["deleted"] == []
    [skipped] = ask(api, "delete", "bob", fid=fid)["skipped"]
    assert skipped["code"] == "not_found"
    assert ask(api, "delete", "dora", status="finished")["deleted"] == [fid]


@pytest.mark.parametrize("action", ["delete", "cancel"])
def test_nothing_is_selected_by_mistake(api: Api, action: str) -> None:
    """Neither everything, nor a mixture of names and filters."""
    fid = make(api, ended=action == "cancel")
    for params in ({}, {"limit": 5}, {"fid": fid, "status": "finished"}, {"status": ""}):
        assert ask(api, action, code=400, **params)["code"] == "usage"
    assert ask(api, action, code=400, sttus="finished")
    assert ask(api, action, code=400, status="done")
    assert ask(api, action, code=400, fid=fid, cursor="x")
    assert ask(api, action, code=400, fid=[f"f{number}" for number in range(1001)])
    assert left(api) == {fid}


@pytest.mark.parametrize("params", [{"status": "finished"}, {"fid": True}])
def test_pieces_continue_where_the_last_one_ended(api: Api, params: dict[str, Any]) -> None:
    """At the limit, or when the time is over."""
    fids = [make(api) for _ in range(7)]
    if "fid" in params:
        params = {"fid": fids}
    deleted: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        more = {"cursor": cursor} if cursor else {}
        piece = ask(api, "delete", limit=3, **params, **more)
        assert len(piece["deleted"]) <= 3
        deleted += piece["deleted"]
        if (cursor := piece["next"]) is None:
            break
    assert (sorted(deleted), left(api)) == (sorted(fids), set())


def test_a_piece_takes_limited_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make(api)
    monkeypatch.setattr(bulk, "_BUDGET_S", 0.0)
    piece = ask(api, "delete", status="finished")
    assert (len(piece["deleted"]), piece["next"] is None) == (1, False)


def test_open_executions_are_cancelled(api: Api) -> None:
    """By name or by filter; those that have ended are skipped."""
    one, two, other = (make(api, ended=False, tags=(tag,)) for tag in "aab")
    over = make(api)
    answer = ask(api, "cancel", tag="a", grace_s=0)
    assert sorted(answer["cancelled"]) == sorted([one, two])
    answer = ask(api, "cancel", fid=[other, over])
    assert (answer["cancelled"], [each["fid"] for each in answer["skipped"]]) == ([other], [over])
    statuses = api.call(api.parts.store.executions.count_by_status())
    assert statuses == {"cancelled": 3, "finished": 1}
    assert ask(api, "cancel", code=400, tag="a", grace_s=-1)


def test_the_audit_log_has_every_fid(api: Api) -> None:
    fids = [make(api), make(api)]
    ask(api, "delete", fid=[*fids, "zzzz"])
    [entry] = api.call(api.parts.store.audit.page(AuditQuery(action="delete_executions"))).items
    assert (entry.who, entry.detail) == ("ada", {"fids": fids, "skipped": 1})
