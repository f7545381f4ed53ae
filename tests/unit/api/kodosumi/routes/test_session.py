"""Logging in and out as Kodosumi's clients do, by header and by cookie."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.api.kodosumi.shapes.identity import role_id
from koco.control.access.login_throttle import Attempts
from tests.support.api_server import Api
from tests.support.kodosumi_api import GREET, client_of, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        api.call(api.parts.users.create("eve", PASSWORD, by="dora", scopes=("launch",)))
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    api.parts.users._attempts = api.parts.attempts = Attempts()
    with client_of(api, "") as client:
        yield client


def login(client: KodosumiClient, **more: Any) -> Any:
    return client.http.post("/login", data={"name": "eve", "password": PASSWORD}, **more)


def test_a_login_gives_a_key_and_a_cookie(client: KodosumiClient) -> None:
    """By form or JSON; either opens the API afterwards. The cookie is not for scripts."""
    answer = login(client)
    assert answer.status_code == 200
    token = answer.json()["KODOSUMI_API_KEY"]
    assert answer.json() == {"name": "eve", "id": role_id("eve"), "KODOSUMI_API_KEY": token}
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"kodosumi_jwt={token};")
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert client.get("/flow")["items"]  # by the cookie
    client.http.cookies.clear()
    assert client.http.get("/flow").status_code == 401
    assert client.log_in("eve", PASSWORD)["name"] == "eve"
    assert client.get("/flow")["items"]  # by the header


def test_a_session_of_either_api_is_valid_in_both(api: Api, client: KodosumiClient) -> None:
    """It is the same session."""
    token = login(client).json()["KODOSUMI_API_KEY"]
    client.http.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}
    assert client.http.get("/v1/me", headers=headers).json()["name"] == "eve"
    assert client.http.get("/flow", headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_logout_ends_the_session(client: KodosumiClient, method: str) -> None:
    """At once, and the cookie goes."""
    login(client)
    answer = client.http.request(method, "/logout")
    assert (answer.status_code, answer.text) == (200, "")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    client.http.cookies.clear()
    token = answer.request.headers["cookie"].partition("=")[2]
    assert client.http.get("/flow", headers={"KODOSUMI_API_KEY": token}).status_code == 401


def test_a_key_is_not_revoked_by_a_logout(api: Api) -> None:
    """Only sessions end."""
    with client_of(api) as client:
        assert client.http.post("/logout").status_code == 200
        assert client.get("/flow")["items"]


def test_a_password_in_a_url_is_refused(client: KodosumiClient) -> None:
    """Right or wrong, and the answer does not repeat it."""
    answer = client.http.get("/login", params={"name": "eve", "password": PASSWORD})
    assert answer.status_code == 400
    assert "POST" in answer.json()["hint"]
    assert PASSWORD.split(maxsplit=1)[0] not in answer.text


@pytest.mark.parametrize("path", ["/login", "/api/login"])
def test_wrong_passwords_are_refused_and_slowed(client: KodosumiClient, path: str) -> None:
    """401, then 429, as at koco's own login."""
    kind = "data" if path == "/login" else "json"
    statuses = set()
    for _ in range(12):
        body: Any = {kind: {"name": "eve", "password": "wrong"}}
        statuses.add(client.http.post(path, **body).status_code)
    assert statuses == {401, 429}


def test_redirects_stay_on_this_host(client: KodosumiClient) -> None:
    """A path of it, and nothing that a browser reads as another host."""
    for where in ("https://evil.example", "//evil.example", "/\\evil.example", "evil", "/\tx"):
        body = {"name": "eve", "password": PASSWORD, "redirect": where}
        assert client.http.post("/api/login", json=body).status_code == 400, where
    body = {"name": "eve", "password": PASSWORD, "redirect": "/flow?q=a"}
    answer = client.http.post("/api/login", json=body)
    assert (answer.status_code, answer.headers["location"]) == (302, "/flow?q=a")
    assert client.http.get("/logout?redirect=//evil.example").status_code == 400


OTHER_SITE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def test_other_sites_cannot_use_the_cookie_or_log_in(api: Api, client: KodosumiClient) -> None:
    """A browser says that the request is theirs. Scripts without a browser may."""
    login(client)
    body = {"who": "Bo"}
    own = {"Origin": api.url, "Sec-Fetch-Site": "same-origin"}
    for headers in (OTHER_SITE, {"Origin": "null"}, {"Referer": "https://evil.example/"}):
        assert client.http.post(GREET, data=body, headers=headers).status_code == 403
        assert client.http.get("/logout", headers=headers).status_code == 403
    assert client.http.post(GREET, json=body).json()["result"]
    assert client.http.post(GREET, json=body, headers=own).json()["result"]
    assert login(client, headers=OTHER_SITE).status_code == 403
    assert login(client, headers=own).status_code == 200


def test_a_key_is_not_taken_from_a_cookie(client: KodosumiClient) -> None:
    """Only sessions, which end."""
    client.http.cookies.set("kodosumi_jwt", "ada")
    assert client.http.get("/flow").status_code == 401


def test_logins_are_in_the_audit_log(api: Api, client: KodosumiClient, tmp_path: Path) -> None:
    """With the name; never with the password."""
    login(client)
    with api.http("dora") as admin:
        text = admin.get("/v1/audit", params={"action": "log_in_by_form"}).text
    assert '"who":"eve"' in text
    assert PASSWORD not in text
