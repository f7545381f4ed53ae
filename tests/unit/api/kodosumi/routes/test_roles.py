"""Users as Kodosumi's clients manage them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.api.kodosumi.shapes.identity import role_id
from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient

PASSWORD = "correct horse battery"
NEW = {"name": "eve", "email": "eve@example.com", "password": PASSWORD}
EVE = {"id": role_id("eve"), "name": "eve", "email": "eve@example.com", "active": True}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving_kodosumi(tmp_path / "data") as api:
        yield api


@pytest.fixture
def admin(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api, "dora") as client:
        yield client


def test_users_are_created_listed_and_removed(api: Api, admin: KodosumiClient) -> None:
    """By name or id."""
    assert admin.post("/role", NEW, status=201) == {**EVE, "operator": False}
    assert admin.http.post("/role", json=NEW).status_code == 409
    assert admin.get("/role") == [{**EVE, "operator": False}]
    assert admin.get("/role/eve") == admin.get(f"/role/{EVE['id']}")
    assert admin.http.delete(f"/role/{EVE['id']}").status_code == 204
    for answer in (admin.http.get("/role/eve"), admin.http.delete("/role/eve")):
        assert answer.status_code == 404


def test_users_are_changed(api: Api, admin: KodosumiClient) -> None:
    """Whether they may log in, their rights, their address and their password; not their name."""
    admin.post("/role", NEW, status=201)
    with client_of(api, "") as eve:
        eve.log_in("eve", PASSWORD)
        assert eve.get("/role/profile") == {**EVE, "operator": False}
        assert eve.http.get("/role").status_code == 403
        path = f"/role/{EVE['id']}"
        assert admin.http.put(path, json={"operator": True}).json()["operator"] is True
        assert eve.get("/role")
        assert admin.http.put(path, json={"active": False, "email": ""}).json() == {
            **EVE,
            "active": False,
            "email": "",
            "operator": True,
        }
        assert eve.http.get("/flow").status_code == 401
    changed = {"active": True, "password": f"{PASSWORD} 2", "operator": False, "name": "eve"}
    assert admin.http.put("/role/eve", json=changed).json()["operator"] is False
    with client_of(api, "") as eve:
        assert eve.log_in("eve", f"{PASSWORD} 2")["id"] == EVE["id"]
    assert admin.http.put("/role/eve", json={"name": "other"}).status_code == 409


def test_a_key_has_a_profile(api: Api) -> None:
    """Without an address."""
    with client_of(api) as ada:
        assert ada.get("/role/profile") == {
            "id": role_id("ada"),
            "name": "ada",
            "email": "",
            "active": True,
            "operator": False,
        }


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"name": "a/b", "password": PASSWORD}, [1]])
def test_wrong_users_are_refused(admin: KodosumiClient, body: object) -> None:
    """400."""
    assert admin.http.post("/role", json=body).status_code == 400


def test_no_password_is_in_the_audit_log(api: Api, admin: KodosumiClient) -> None:
    """Nor an address, which nobody could remove."""
    admin.post("/role", NEW, status=201)
    admin.http.put("/role/eve", json={"password": f"{PASSWORD} 2", "email": "new@example.com"})
    with api.http("dora") as own:
        text = own.get("/v1/audit", params={"target": "eve"}).text
    assert '"action":"change_user"' in text
    assert "battery" not in text
    assert "@" not in text
