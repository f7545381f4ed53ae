"""Results in the media types of flows' responses."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.response import HTML, Markdown, Text
from tests.support.api_server import Api, serving

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


def ended(api: Api, value: Any, fid: str = "") -> str:
    """Have an execution end with a value; return its fid."""
    fid = fid or api.execution()
    api.call(api.parts.store.executions.assign(fid, "r1"))
    begun = Batch(fid, "p", 1, 0, b"", "r1", Status.RUNNING)
    final = Batch(fid, "p", 1, 1, line.encode(Kind.FINAL, value), "r1", Status.FINISHED)
    api.call(api.parts.spooler.append(wire.encode_batches([begun, final])))
    return fid


def get(api: Api, fid: str, accept: str) -> Any:
    with api.http() as client:
        return client.get(f"/v1/executions/{fid}/result", headers={"Accept": accept})


@pytest.mark.parametrize(
    ("value", "accept", "media", "body"),
    [
        (Markdown("# Hi"), "text/markdown", "text/markdown; charset=utf-8", "# Hi"),
        (Markdown("# Hi"), "text/plain", "text/plain; charset=utf-8", "# Hi"),
        (
            Markdown("*hi* <b>"),
            BROWSER,
            "text/html; charset=utf-8",
            '<!doctype html>\n<meta charset="utf-8">\n<title>Result</title>\n'
            "<p><em>hi</em> &lt;b&gt;</p>\n",
        ),
        (HTML("<p>ä</p>"), BROWSER, "text/html; charset=utf-8", "<p>ä</p>"),
        (Text("hi"), "text/*", "text/plain; charset=utf-8", "hi"),
        ("hi", "text/plain;q=0.5, application/pdf", "text/plain; charset=utf-8", "hi"),
    ],
)
def test_a_body_is_sent_in_its_media_type(
    api: Api, value: Any, accept: str, media: str, body: str
) -> None:
    """If `Accept` asks for it. A page has a policy that forbids everything."""
    answer = get(api, ended(api, value), accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, media)
    assert answer.content == body.encode()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if "html" in media:
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/csv, application/*"])
def test_every_result_is_available_as_json(api: Api, accept: str) -> None:
    """`{fid, status, result}`, whatever the flow returned."""
    for value, told in ((HTML("<p>"), {"type": "html", "body": "<p>"}), ([1], [1])):
        fid = ended(api, value)
        answer = get(api, fid, accept)
        assert answer.json() == {"fid": fid, "status": "finished", "result": told}


@pytest.mark.parametrize("value", [[1], {"type": "html", "body": 1}, {"type": [], "body": ""}])
def test_a_value_is_not_acceptable_as_text(api: Api, value: Any) -> None:
    """406 with the available types."""
    answer = get(api, ended(api, value), "text/html")
    assert (answer.status_code, answer.json()["code"]) == (406, "accept")
    assert "application/json" in answer.json()["hint"]


def test_markdown_that_is_too_long_has_no_page(api: Api) -> None:
    """413, and the hint names the other types."""
    answer = get(api, ended(api, Markdown("x" * (512 * 1024 + 1))), "text/html")
    assert (answer.status_code, answer.json()["code"]) == (413, "limit")
    assert "text/markdown" in answer.json()["hint"]


def test_an_infinite_preference_is_refused(api: Api) -> None:
    """400: a `q` is a number up to 1."""
    assert get(api, ended(api, 1), "text/html;q=inf").status_code == 400
