"""The events of many executions as one stream, over a real socket."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from koco.control.events import many
from tests.support.api_server import Api, serving
from tests.support.written import Written as Flow


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("dora", "admin")
        yield api


def read(api: Api, key: str = "ada", **params: Any) -> list[dict[str, Any]]:
    with api.http(key) as client:
        answer = client.get("/v1/events", params=params)
    assert answer.status_code == 200, answer.text
    lines = [json.loads(text) for text in answer.text.splitlines()]
    assert lines[-1]["end"]
    return [each for each in lines if "fid" in each]


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [each["payload"] for each in events if each["kind"] == "stdout"]


class Follower:
    """A client that follows; `have` waits until it has some texts."""

    def __init__(self, api: Api, key: str = "ada", **params: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.opened = threading.Event()
        self.ended = False
        self._http = api.http(key)
        self._params = {"follow": "true", **params}
        threading.Thread(target=self._read, daemon=True).start()
        assert self.opened.wait(10)

    def _read(self) -> None:
        try:
            with self._http.stream("GET", "/v1/events", params=self._params) as answer:
                self.executions = int(answer.headers["X-Koco-Executions"])
                self.opened.set()
                for text in answer.iter_lines():
                    with self.changed:
                        self.lines.append(json.loads(text))
                        self.changed.notify_all()
        except httpx.TransportError:
            pass
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def have(self, *wanted: str) -> list[dict[str, Any]]:
        with self.changed:
            fits = lambda: texts([each for each in self.lines if "fid" in each]) == list(wanted)  # noqa: E731
            assert self.changed.wait_for(fits, 10), self.lines
            return self.lines

    def mark(self) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: self.lines and "cursor" in self.lines[-1], 10), (
                self.lines
            )
            cursor: str = self.lines[-1]["cursor"]
            return cursor

    def close(self) -> None:
        self._http.close()


def test_stored_events_come_in_the_order_of_their_times(api: Api) -> None:
    """Of all that match, whoever wrote them first; each with its fid and flow."""
    one, two = Flow(api), Flow(api, "svc/other")
    soon = 2_000_000_000
    one.write("a", now=soon)
    two.write("b", now=soon + 1)
    two.write("d", now=soon + 3)
    one.write("c", now=soon + 2, ends=True)
    events = read(api)
    assert texts(events) == ["a", "b", "c", "d"]
    assert [(each["fid"], each["flow"]) for each in events if each["kind"] == "stdout"] == [
        (one.fid, "svc/flow"),
        (two.fid, "svc/other"),
        (one.fid, "svc/flow"),
        (two.fid, "svc/other"),
    ]
    assert [each["seq"] for each in events if each["fid"] == one.fid] == list(range(1, 8))
    assert texts(read(api, fid=[two.fid[:12]])) == ["b", "d"]
    assert texts(read(api, flow="svc/flow", tail=3)) == ["c"]
    assert texts(read(api, status="finished")) == ["a", "c"]
    assert {each["kind"] for each in read(api, kind="final")} == {"final"}


def test_one_sees_only_what_one_may_see(api: Api) -> None:
    """Others' executions are missing, also if a cursor names them; an admin sees all."""
    Flow(api).write("hers")
    Flow(api, user="bob").write("his")
    assert texts(read(api, "ada")) == ["hers"]
    assert texts(read(api, "bob")) == ["his"]
    assert sorted(texts(read(api, "dora"))) == ["hers", "his"]
    follower = Follower(api, "dora")
    cursor = follower.mark()
    follower.close()
    other = Follower(api, "bob", cursor=cursor)
    assert other.executions == 1
    other.close()


def test_a_search_finds_text_in_events(api: Api) -> None:
    """In any case, in any kind, with quotes and line ends; a large event by its first part."""
    flow = Flow(api)
    flow.write('say "Hymn"\nto the night', "ÄRGER", "x" * 300_000 + "hymn", "hymn" + "y" * 300_000)
    flow.write("other", ends=True)
    assert texts(read(api, contains='"hymn"\nTO'))[0].startswith("say")
    assert texts(read(api, contains="ärger")) == ["ÄRGER"]
    found = texts(read(api, contains="hymn"))
    assert [text[:4] for text in found] == ["say ", "hymn"] and len(found[1]) == 300_004
    assert read(api, contains="nowhere") == []


def test_a_search_does_not_find_hidden_inputs(api: Api) -> None:
    """They are masked in the stream."""
    Flow(api, inputs={"token": "hunter2", "who": "Grace"}, hidden=("token",)).write("x")
    assert len(read(api, contains="grace")) == 1
    assert read(api, contains="hunter2") == []


def test_a_long_search_is_continued(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends early with a mark that is not the end, and goes on from that."""
    monkeypatch.setattr(many, "_SEARCH_S", 0.0)
    for number in range(3):
        Flow(api).write(f"needle {number}", ends=True)
    params: dict[str, Any] = {"contains": "needle"}
    found: list[str] = []
    with api.http() as client:
        for _ in range(50):
            answer = client.get("/v1/events", params=params)
            *events, mark = [json.loads(text) for text in answer.text.splitlines()]
            found += texts([each for each in events if "fid" in each])
            params["cursor"] = mark["cursor"]
            if mark["end"]:
                break
    assert found == ["needle 0", "needle 1", "needle 2"]


def test_followed_executions_join_and_leave(api: Api) -> None:
    """Those that run are there from their start, new ones join, ended ones are not asked again."""
    former, running = Flow(api), Flow(api)
    former.write("long ago", ends=True)
    running.write("one")
    follower = Follower(api, service="svc")
    assert follower.executions == 1
    follower.have("one")
    Flow(api, "else/where").write("not this")
    new = Flow(api)
    new.write("two", ends=True)
    follower.have("one", "two")
    running.write("three", ends=True)
    follower.have("one", "two", "three")
    cursor = follower.mark()
    assert not follower.ended
    follower.close()
    assert Follower(api, service="svc", cursor=cursor).executions <= 2


def test_named_executions_are_followed_to_their_ends(api: Api) -> None:
    """Then the stream ends, with a mark that says so."""
    one, two = Flow(api), Flow(api)
    follower = Follower(api, fid=[one.fid, two.fid])
    one.write("a", ends=True)
    follower.have("a")
    two.write("b", ends=True)
    follower.have("a", "b")
    with follower.changed:
        assert follower.changed.wait_for(lambda: follower.ended, 10)
    assert follower.lines[-1]["end"]


def test_a_cursor_continues_without_loss(api: Api) -> None:
    """Also what ended or changed its status while nobody was connected."""
    one, two = Flow(api), Flow(api)
    one.write("a")
    two.write("b")
    follower = Follower(api)
    follower.have("a", "b")
    cursor = follower.mark()
    follower.close()
    one.write("c", ends=True)
    Flow(api).write("d", ends=True)
    two.write("e")
    follower = Follower(api, cursor=cursor)
    events = follower.have("c", "d", "e")
    seqs = [each["seq"] for each in events if each.get("fid") == one.fid]
    assert seqs == sorted(set(seqs)) and seqs[0] > 1
    follower.close()


def test_a_large_event_arrives_whole(api: Api) -> None:
    """In parts, and no other execution's line gets between them."""
    one, two = Flow(api), Flow(api)
    soon = 2_000_000_000
    one.write("x" * 1_000_000, now=soon)
    two.write("y", now=soon + 1)
    assert [len(text) for text in texts(read(api))] == [1_000_000, 1]


def test_sse_has_marks_as_ids(api: Api) -> None:
    """A browser continues from the last one by itself."""
    Flow(api).write("a", ends=True)
    with api.http() as client:
        answer = client.get("/v1/events", headers={"Accept": "text/event-stream"})
        blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
        assert blocks[1][0] == "event: meta" and '"seq":1,' in blocks[1][1]
        assert blocks[-1][0].startswith("id: ") and blocks[-1][1] == "event: mark"


def test_refuses_what_makes_no_sense(api: Api) -> None:
    """Fids with filters, a cursor of somebody's own, an empty search, more fids than it takes."""
    fid = Flow(api).fid
    with api.http() as client:
        for params in (
            {"fid": fid, "service": "svc"},
            {"cursor": "nonsense"},
            {"contains": ""},
            {"tail": -1},
            {"fid": ["x"] * 1001},
        ):
            answer = client.get("/v1/events", params=params)
            assert answer.status_code in (400, 422), (params, answer.text)


def test_a_thousand_executions_are_one_stream(api: Api) -> None:
    """All of their events, each once, and in order."""
    flows = [Flow(api) for _ in range(1000)]
    for number, flow in enumerate(flows):
        flow.write(str(number), now=2_000_000_000 + number)
    events = read(api)
    assert texts(events) == [str(number) for number in range(1000)]
    assert len({each["fid"] for each in events}) == 1000
