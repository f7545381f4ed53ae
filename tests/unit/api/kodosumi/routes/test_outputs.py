"""Status, results, streams and deletion of executions, as Kodosumi's clients read them."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from koco.api.kodosumi.shapes import events, payloads, yaml_text
from koco.api.kodosumi.shapes.identity import role_id
from koco.events.model import Kind, Status
from koco.store.model import Answer, FailureEvent
from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, execute, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient

EVIL = '<p onclick="x()">hi<script>alert(1)</script><a href="javascript:alert(1)">go</a></p>'


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        api.parts.heartbeat_s = 0.2
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        yield client


def test_the_status_has_everything_in_one_answer(api: Api, client: KodosumiClient) -> None:
    """The final text is JSON in a text, below the name of its type."""
    fid = execute(api, final={"type": "markdown", "body": "# Hi"})
    found = client.get(f"/outputs/status/{fid}", extended="true")
    assert json.loads(found.pop("final")) == {"Markdown": {"body": "# Hi"}}
    assert isinstance(found.pop("timestamp"), float)
    assert found.pop("kodosumi_version")
    assert found == {
        "status": "finished",
        "fid": fid,
        "summary": "Greeter",
        "description": "Greets people",
        "tags": ["hello"],
        "deprecated": None,
        "author": "Ada Lovelace",
        "organization": "Analytical",
        "version": "1.0",
        "base_url": "/-/localhost/8001/svc/-/",
        "app_url": "/-/localhost/8001/svc/-/",
        "entry_point": "m:f",
        "username": role_id("ada"),
        "locks": [],
    }


def test_an_open_lock_is_in_the_status(api: Api, client: KodosumiClient) -> None:
    """Then it is `awaiting`, and has no final text."""
    fid = execute(api, ends=False)
    assert client.get(f"/outputs/status/{fid}")["status"] == "running"
    api.call(api.parts.store.locks.open(fid, "lid1", name="review", data=None, expires=9e9))
    found = client.get(f"/outputs/status/{fid}")
    assert (found["status"], found["locks"], found["final"]) == ("awaiting", ["lid1"], None)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("koco.kodosumi.error.KodosumiError", "no topic"), ("ValueError", "ValueError: no topic")],
)
def test_an_error_is_a_text(api: Api, client: KodosumiClient, kind: str, text: str) -> None:
    """The message; its type as well, unless it is the one for users."""
    fid = execute(api, error=FailureEvent(type=kind, message="no topic", traceback="Trace"))
    found = client.get(f"/outputs/status/{fid}")
    assert (found["status"], json.loads(found["final"])) == ("error", {"Text": {"body": text}})
    assert client.get(f"/outputs/raw/{fid}") == {"Text": {"body": text}}
    assert text in client.http.get(f"/outputs/html/{fid}").text
    assert ("error", f"Trace\n{text}") in [
        (kind, data.partition(":")[2]) for _, kind, data in client.events(f"/outputs/stream/{fid}")
    ]


def test_a_cancelled_execution_is_an_error(api: Api, client: KodosumiClient) -> None:
    """Kodosumi has no other status for it."""
    fid = execute(api, ends=False)
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    found = client.get(f"/outputs/status/{fid}")
    assert found["status"] == "error"
    assert "cancelled" in found["final"]


def test_a_result_that_is_not_there_yet(api: Api, client: KodosumiClient) -> None:
    """Both say so, with 200."""
    fid = execute(api, ends=False)
    assert "please be patient" in client.get(f"/outputs/raw/{fid}")["Markdown"]["body"]
    assert "please be patient" in client.http.get(f"/outputs/html/{fid}").text


@pytest.mark.parametrize("kind", ["html", "markdown", "text"])
def test_a_page_runs_nothing_of_the_flow(api: Api, client: KodosumiClient, kind: str) -> None:
    """Neither by its content nor by its policy."""
    fid = execute(api, final={"type": kind, "body": EVIL})
    answer = client.http.get(f"/outputs/html/{fid}")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert "<script" not in answer.text
    if kind == "html":
        assert "<p>hi<a" in answer.text
        assert "javascript:" not in answer.text
    streamed = "".join(data for _, _, data in client.events(f"/outputs/main/{fid}"))
    assert "<script" not in streamed


def test_a_stream_has_kodosumis_events(api: Api, client: KodosumiClient) -> None:
    """Each has its number, kind and time; payloads stand below their types; `eof` is last."""
    fid = execute(
        api,
        (Kind.STDOUT, "a\nb"),
        (Kind.DEBUG, "d"),
        (Kind.RESULT, "text"),
        (Kind.RESULT, {"a": 1}),
        (Kind.ACTION, [1, {"b": None}]),
        (Kind.UPLOAD, {"path": "out/x", "size_bytes": 3, "sha256": "0" * 64, "by": "ada"}),
        final=7,
    )
    found = [*client.events(f"/outputs/stream/{fid}")]
    assert found[-1] == (found[-2][0], "eof", "end of stream")
    pairs = [(kind, data.partition(":")[2]) for _, kind, data in found[:-1]]
    assert all(float(data.partition(":")[0]) > 1e9 for _, _, data in found[:-1])
    assert [int(seq) for seq, _, _ in found[:-1]] == sorted(int(seq) for seq, _, _ in found[:-1])
    assert pairs[0][0] == "meta"
    assert json.loads(pairs[0][1])["dict"]["fid"] == fid
    assert pairs[1] == ("inputs", '{"dict":{"who":"Bo"}}')
    assert [text for kind, text in pairs if kind == "status"] == ["starting", "running", "finished"]
    assert pairs[4:7] == [("stdout", "a\nb"), ("debug", "d"), ("result", '{"str":"text"}')]
    assert pairs[7] == ("result", '{"dict":{"a":1}}')
    assert pairs[8] == ("action", '{"__list__":[{"int":1},{"dict":{"b":null}}]}')
    [file] = json.loads(pairs[9][1])["Upload"]["files"]
    assert (file["path"], file["size"]) == ("out/x", 3)
    assert pairs[10] == ("final", '{"int":7}')


def test_main_and_stdio_have_their_kinds(api: Api, client: KodosumiClient) -> None:
    """As HTML; with `raw` as they are."""
    body = {"type": "markdown", "body": "**b**"}
    fid = execute(api, (Kind.STDOUT, "\x1b[31mred\x1b[0m <b>"), (Kind.RESULT, body))
    main = [
        (kind, data.partition(":")[2]) for _, kind, data in client.events(f"/outputs/main/{fid}")
    ]
    assert ("inputs", "dict:\n  who: Bo\n") in main
    assert ("result", "<p><strong>b</strong></p>\n") in main
    assert not [kind for kind, _ in main if kind == "stdout"]
    raw = [data for _, kind, data in client.events(f"/outputs/main/{fid}?raw") if kind == "result"]
    assert raw[0].partition(":")[2] == '{"Markdown":{"body":"**b**"}}'
    stdio = [*client.events(f"/outputs/stdio/{fid}")]
    assert [kind for _, kind, _ in stdio] == ["stdout", "eof"]
    assert stdio[0][2].partition(":")[2] == "red &lt;b&gt;"


def test_a_stream_goes_on_while_the_execution_does(api: Api, client: KodosumiClient) -> None:
    """`alive` comes meanwhile; a lock and its answer have Kodosumi's members."""
    fid = execute(api, ends=False)
    api.call(api.parts.store.locks.open(fid, "lid2", name="ask", data={"a": 1}, expires=9e9))
    seen: list[tuple[str, str]] = []
    is_answered = False
    with client.http.stream("GET", f"/outputs/stream/{fid}") as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                seen.append((value, ""))
            elif name == "data":
                seen[-1] = (seen[-1][0], value.partition(":")[2])
            if seen[-1:] == [("alive", "service alive")] and not is_answered:
                is_answered = True
                answer_it = api.parts.store.locks.answer("lid2", Answer(value=[1]), by="ada")
                api.call(answer_it)
                api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
                api.parts.spooler.wake(fid)
    [lock] = [json.loads(text)["dict"] for kind, text in seen if kind == "lock"]
    assert lock == {"name": "ask", "lid": "lid2", "data": {"a": 1}, "expires": 9e9}
    [lease] = [json.loads(text)["dict"] for kind, text in seen if kind == "lease"]
    assert lease == {"name": "ask", "lid": "lid2", "result": [1]}
    assert seen[-2:] == [("status", "error"), ("eof", "")]


def test_a_stream_goes_on_from_an_event(api: Api, client: KodosumiClient) -> None:
    """By `Last-Event-ID`, as browsers send it."""
    fid = execute(api, (Kind.STDOUT, "a"), final=1)
    whole = [*client.events(f"/outputs/stream/{fid}")]
    client.http.headers["Last-Event-ID"] = next(seq for seq, kind, _ in whole if kind == "stdout")
    assert next(client.events(f"/outputs/stream/{fid}"))[1] == "final"


def test_a_stream_goes_on_after_alive(api: Api, client: KodosumiClient) -> None:
    """`alive` and `eof` have the number of the last event, so a browser does not begin anew."""
    fid = execute(api, (Kind.STDOUT, "a"), ends=False)
    with client.http.stream("GET", f"/outputs/stream/{fid}") as answer:
        ids = {}
        number = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            number = value if name == "id" else number
            if name == "event":
                ids[value] = number
            if value == "alive":
                break
    assert ids["alive"] == ids["stdout"] != "0"
    client.http.headers["Last-Event-ID"] = ids["alive"]
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    api.parts.spooler.wake(fid)
    kinds = [kind for _, kind, _ in client.events(f"/outputs/stream/{fid}")]
    assert (kinds[-1], "stdout" in kinds) == ("eof", False)
    client.http.headers["Last-Event-ID"] = "999"
    assert [*client.events(f"/outputs/stream/{fid}")] == [("999", "eof", "end of stream")]


@pytest.mark.parametrize("path", ["/outputs/main/{}", "/outputs/html/{}"])
def test_nothing_is_converted_on_the_loop(
    api: Api, client: KodosumiClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a short text may take a second, and nobody else would be answered."""
    threads = set()
    to_html, dump = events.to_html, yaml_text.to_yaml

    def noted(work: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            threads.add(threading.current_thread().name)
            return work(*args, **more)

        return call

    monkeypatch.setattr(events, "to_html", noted(to_html))
    monkeypatch.setattr(yaml_text, "to_yaml", noted(dump))
    fid = execute(api, (Kind.RESULT, {"type": "markdown", "body": "[](" * 9}), final="x")
    answer = client.http.get(path.format(fid))
    assert answer.status_code == 200
    assert threads == {"koco-rendering_0"}
    if "html" in path:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/outputs/raw/{}", "/outputs/status/{}"])
def test_large_results_are_translated_beside_the_loop(
    api: Api, client: KodosumiClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of millions takes seconds."""
    threads = set()
    serialize = payloads.serialize

    def noted(value: Any) -> str:
        threads.add(threading.current_thread().name)
        return serialize(value)

    fid = execute(api, final=[1] * 2000)
    monkeypatch.setattr(payloads, "serialize", noted)
    answer = client.http.get(path.format(fid))
    assert answer.status_code == 200
    assert threads == {"koco-rendering_0"}


def test_executions_are_deleted(api: Api, client: KodosumiClient) -> None:
    """One or many; a waiting one is cancelled first. A wrong fid deletes none."""
    done, waiting = execute(api), api.execution()
    answer = client.http.request("DELETE", "/outputs", json={"fid": [done, "nothing"]})
    assert answer.status_code == 404
    client.get(f"/outputs/status/{done}")
    answer = client.http.request("DELETE", "/outputs/", json={"fid": [done, waiting, done]})
    assert (answer.status_code, answer.content) == (204, b"")
    for fid in (done, waiting):
        assert client.http.get(f"/outputs/status/{fid}").status_code == 404
    other = execute(api)
    assert client.http.delete(f"/outputs/{other}").status_code == 204
    for body in ({}, {"fid": "x"}, {"fid": [1]}, {"fid": ["x"] * 1001}):
        assert client.http.request("DELETE", "/outputs", json=body).status_code == 400
