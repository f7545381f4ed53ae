"""The routes of settings over a real socket: list, set, unset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.control.settings import Settings
from tests.support.api_server import Api, serving


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        api.admit("root", "admin")
        yield api


def change(api: Api, key: str = "root", **values: Any) -> Any:
    with api.http(key) as client:
        return client.patch("/v1/settings", json={"values": values})


def test_lists_all_settings_in_order(api: Api) -> None:
    """Each with its default, and whether it is stored."""
    with api.http("root") as client:
        items = client.get("/v1/settings").json()["items"]
    assert [each["name"] for each in items] == list(Settings.__struct_fields__)
    [running] = [each for each in items if each["name"] == "max_running"]
    assert running == {"name": "max_running", "value": 0, "default": 0, "is_set": False}
    with api.http("root") as client:
        page = client.get("/v1/settings?limit=3").json()
        rest = client.get("/v1/settings", params={"cursor": page["next"]}).json()
    assert page["items"] + rest["items"] == items


def test_a_change_counts_at_once_and_is_stored(api: Api) -> None:
    """Texts and JSON values mean the same; null unsets."""
    answer = change(api, max_running="5", cors_origins="https://a.example.com", park_after=2)
    assert [(each["before"], each["value"]) for each in answer.json()["items"]] == [
        *((0, 5), ([], ["https://a.example.com"]), (60, 2))
    ]
    assert api.parts.settings.max_running == 5
    assert api.parts.settings.cors_origins == ("https://a.example.com",)
    stored = api.call(api.parts.store.settings.all())
    assert stored == {
        **{"max_running": 5, "cors_origins": ["https://a.example.com"], "park_after": 2}
    }
    [unset] = change(api, max_running=None).json()["items"]
    assert (unset["before"], unset["value"], unset["is_set"]) == (5, 0, False)
    assert api.parts.settings.max_running == 0
    assert "max_running" not in api.call(api.parts.store.settings.all())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_running": 5, "max_runing": 5}, "did you mean max_running?"),
        ({"max_running": 5, "max_streams": 0}, "from 1"),
        ({"max_running": 5, "key_requests_per_s": "nan"}, "a number from 0"),
        ({"max_running": 5, "cors_origins": [1]}, "list of texts"),
        ({"max_runing": None, "max_running": 5}, "did you mean max_running?"),
        ({}, "max_running"),
    ],
)
def test_one_refused_value_refuses_all(api: Api, values: dict[str, Any], said: str) -> None:
    """Nothing is stored then; the hint says what is valid."""
    answer = change(api, **values)
    assert answer.status_code == 400
    assert said in answer.json()["hint"]
    assert api.call(api.parts.store.settings.all()) == {}
    assert api.parts.settings.max_running == 0


def test_only_admins_see_and_change_them(api: Api) -> None:
    """A refusal and a change are in the audit log, the change with both values."""
    assert change(api, key="ada", max_running=1).status_code == 403
    change(api, max_running=7)
    with api.http("root") as client:
        done, refused = client.get("/v1/audit?action=change_settings").json()["items"]
    assert (done["target"], done["who"]) == ("max_running", "root")
    assert done["detail"] == {"changed": {"max_running": {"before": 0, "after": 7}}}
    assert (refused["who"], refused["outcome"]) == ("ada", "not_allowed")
