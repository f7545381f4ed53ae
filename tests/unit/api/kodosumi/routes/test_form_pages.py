"""Forms as pages for browsers, without the panel."""

import time
from collections.abc import Iterator

import pytest

from koco.api.kodosumi.routes import form_pages
from koco.api.kodosumi.shapes import safe_html
from tests.support.api_server import Api
from tests.support.kodosumi_api import GREET, client_of, execute, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        client.http.headers.update(BROWSER)
        yield client


def test_a_form_is_a_page_for_browsers(client: KodosumiClient) -> None:
    """With its fields, without scripts, and sent to this host only. Other clients get JSON."""
    answer = client.http.get(f"/inputs{GREET}")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self'" in policy
    assert '<form method="post">' in answer.text
    assert "<h1>Greet</h1>" in answer.text
    for name in ("who", "times", "loud", "tone", "token"):
        assert f'name="{name}"' in answer.text
    assert '<option value="kind"' in answer.text
    assert client.http.get(f"/inputs{GREET}", headers={"Accept": "*/*"}).json()["elements"]
    assert client.http.get(GREET).json()["elements"]


def test_a_page_launches_and_shows_errors(api: Api, client: KodosumiClient) -> None:
    """Errors stand in the form beside what was sent; a launch leads to its result."""
    answer = client.http.post(f"/inputs{GREET}", data={"who": "", "times": "<b>many"})
    assert answer.status_code == 200
    assert "is required" in answer.text
    assert 'value="&lt;b&gt;many"' in answer.text
    answer = client.http.post(f"/inputs{GREET}", data={"who": "Bo", "times": "2"})
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert where.startswith("/outputs/html/")
    assert "be patient" in client.http.get(where).text


def test_leaving_a_form_launches_nothing(api: Api, client: KodosumiClient) -> None:
    """Neither with values nor without, and it answers no lock."""
    before = client.get("/timeline/list", pp=1000)["items"]
    sent = {"who": "Bo", "why": "x", "__cancel__": "__cancel__"}
    assert client.http.post(f"/inputs{GREET}", data=sent).headers["location"] == "/flow"
    assert client.get("/timeline/list", pp=1000)["items"] == before
    path, fid = lock_of(api)
    assert client.http.post(f"/inputs{path}", data=sent).headers["location"].endswith(fid)
    assert client.get(path)


def lock_of(api: Api) -> tuple[str, str]:
    """Open a lock of a new execution; return its path and the fid."""
    fid = execute(api, ends=False)
    made = api.parts.store.locks.open(fid, f"l{fid}", name="review", data=None, expires=9e9)
    return f"/lock/{fid}/{api.call(made).lid}", fid


def test_a_lock_is_a_page_for_browsers(api: Api, client: KodosumiClient) -> None:
    """Answered like a flow's form."""
    path, fid = lock_of(api)
    assert 'name="why"' in client.http.get(f"/inputs{path}").text
    assert "is required" in client.http.post(f"/inputs{path}", data={"why": ""}).text
    answer = client.http.post(f"/inputs{path}", data={"why": "x", "ok": "on"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/outputs/html/{fid}")


def test_the_markdown_of_a_form_takes_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it together. Its own HTML is kept where it is harmless."""
    monkeypatch.setattr(safe_html, "MOST_S", 0.1)
    slow = {"type": "markdown", "text": "[[[[](" * 2600}
    good = {"type": "markdown", "text": "  # <b>Hi</b> <script>x</script>"}
    began = time.thread_time()
    html = form_pages.render_form([good, *[slow] * 8])
    assert time.thread_time() - began < 2
    assert html.startswith("<h1><b>Hi</b> </h1>")
    assert html.count("<pre>[[[[") == 8
