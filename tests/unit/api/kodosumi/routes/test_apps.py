"""Apps in Kodosumi's dialect by Kodosumi's API: forms, launches, uploads and pages. Without Ray."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of
from tests.support.kodosumi_client import KodosumiClient, field_of
from tests.unit.api.routes import test_apps

#: The API with such an app, `shop`.
api = test_apps.api
SHOP = "/-/localhost/8001/shop/-"
PASSWORD = "correct horse battery"


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    api.parts.settings.kodosumi_api = True
    with client_of(api) as client:
        yield client


def inputs_of(api: Api, fid: str) -> dict[str, Any]:
    found: dict[str, Any] = api.call(api.parts.store.executions.get(fid)).inputs
    return found


def test_a_form_is_the_apps_own(client: KodosumiClient) -> None:
    """With the options of its route."""
    found = client.get(f"{SHOP}/")
    assert (found["summary"], found["openapi_extra"]["x-author"]) == ("First", "ada")
    assert [each["name"] for each in found["elements"]] == ["topic", "pin", "files"]
    listed = {each["summary"]: each["url"] for each in client.get("/flow", pp=100)["items"]}
    assert listed["First"] == f"{SHOP}/"


def test_values_arrive_as_they_were_sent(api: Api, client: KodosumiClient) -> None:
    """Refusals have the messages of the handler; the caller's key does not reach it."""
    refused = client.post(f"{SHOP}/", {})
    assert refused["errors"] == {"topic": ["No topic."], "_global_": ["Try again."]}
    client.http.headers["Accept-Language"] = "de"
    found = inputs_of(api, client.post(f"{SHOP}/", {"topic": " 3 ", "more": 1})["result"])
    assert (found["topic"], found["language"], found["key"]) == (" 3 ", "de", None)
    assert "more" not in found


def test_uploads_are_a_set_of_names(api: Api, client: KodosumiClient) -> None:
    """And the execution has the files."""
    upload = client.upload("d/a.txt", [b"x"])
    value = field_of("", {upload: ("d/a.txt", 1)})
    fid = client.post(f"{SHOP}/", {"topic": "x", "files": value})["result"]
    assert inputs_of(api, fid)["files"] == ["d/a.txt"]
    assert client.http.get(f"/files/{fid}/in/d/a.txt").content == b"x"


def test_a_path_may_have_parameters(api: Api, client: KodosumiClient) -> None:
    """And a query."""
    assert client.get(f"{SHOP}/reports/2026")["elements"]
    fid = client.post(f"{SHOP}/reports/2026?b=c", {"a": "1"})["result"]
    assert inputs_of(api, fid) == {"a": "1", "year": "2026", "b": "c"}


def test_a_page_is_shown_and_launches(api: Api, client: KodosumiClient) -> None:
    """In a sandbox, with the scope of a launch."""
    answer = client.http.get(f"{SHOP}/page")
    assert answer.text == "<form method=post>"
    assert "sandbox" in answer.headers["content-security-policy"]
    fid = client.http.post(f"{SHOP}/page", data={"topic": "x"}).json()["fid"]
    assert inputs_of(api, fid) == {"topic": "x"}
    with client_of(api, "reader") as reader:
        assert reader.http.get(f"{SHOP}/page").status_code == 200
        assert reader.http.get(f"{SHOP}/at-once").status_code == 403


def test_a_cookie_alone_launches_nothing_by_get(api: Api, client: KodosumiClient) -> None:
    """Any page that a browser shows could cause such a request."""
    assert client.http.get(f"{SHOP}/at-once").json()["fid"]
    api.call(api.parts.users.create("eve", PASSWORD, by="ada", scopes=("launch",)))
    with client_of(api, "") as eve:
        eve.http.post("/login", data={"name": "eve", "password": PASSWORD})
        refused = eve.http.get(f"{SHOP}/at-once")
        assert (refused.status_code, "cookie" in refused.json()["detail"]) == (403, True)
        assert eve.http.get(f"{SHOP}/page").status_code == 200


def test_forms_are_pages_for_browsers(client: KodosumiClient) -> None:
    """With the messages of a refusal."""
    browser = {"Accept": "text/html"}
    assert 'name="topic"' in client.http.get(f"/inputs{SHOP}/", headers=browser).text
    again = client.http.post(f"/inputs{SHOP}/", data={"topic": ""}, headers=browser)
    assert "No topic." in again.text


def test_a_key_for_a_page_is_enough_for_it(api: Api) -> None:
    """It launches nothing else."""
    with client_of(api, "limited") as client:
        assert client.http.get(f"{SHOP}/page").status_code == 200
        assert client.http.post(f"{SHOP}/page", data={"topic": "x"}).json()["fid"]
        assert client.http.get(f"{SHOP}/at-once").status_code == 403


def test_json_is_read_whatever_it_is_called(api: Api, client: KodosumiClient) -> None:
    """`curl -d` says that it is a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.http.post(f"{SHOP}/", content=' {"topic": "{x"}', headers=headers)
    assert inputs_of(api, answer.json()["result"])["topic"] == "{x"
    answer = client.http.post(f"{SHOP}/", content="topic=%7Bx", headers=headers)
    assert inputs_of(api, answer.json()["result"])["topic"] == "{x"
    api.call(api.parts.users.create("carla", PASSWORD, by="ada", scopes=("launch",)))
    login = f'{{"name": "carla", "password": "{PASSWORD}"}}'
    with client_of(api, "") as carla:
        for kind, status in ((headers, 200), ({"Content-Type": "text/plain"}, 400)):
            answer = carla.http.post("/api/login", content=login, headers=kind)
            assert answer.status_code == status
        answer = carla.http.post("/api/login", data={"name": "carla", "password": PASSWORD})
        assert answer.status_code == 400
        other = {**headers, "Origin": "https://evil.example"}
        assert carla.http.post("/api/login", content=login, headers=other).status_code == 403
