"""Services written for Kodosumi, unchanged, on real Ray and Serve: one for each of its behaviours.

They are in tests/corpus/kodosumi: the apps `values`, `launches` and `people`, and the flows `runs`.
"""

from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.driver import Done, Ended, Koco, eventually
from tests.support.typist import Typist

CORPUS = ROOT / "tests/corpus/kodosumi"

#: Four services start at once, three of them with a replica of Ray Serve.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def corpus(koco: Koco) -> Koco:
    koco.run("deploy", cwd=CORPUS).ok()
    return koco


def result(corpus: Koco, flow: str, **inputs: Any) -> Any:
    """Return the result of a flow, which must finish."""
    ended = corpus.execute(flow, **inputs)
    assert ended.status == "finished", ended.events
    return ended.result


def errors(corpus: Koco, flow: str, **inputs: Any) -> Any:
    """Return the messages of a launch that is refused."""
    with corpus.http() as client:
        answer = client.post(f"/v1/flows/{flow}", json=inputs)
    assert answer.status_code == 422, answer.text
    return answer.json()["errors"]


VALUES: list[tuple[str, dict[str, Any], Any]] = [
    (
        "dates",
        {"day": "2026-01-31", "hour": "09:30", "start": "2026-01-31T09:45"},
        [31, 9, 45, "2026-01-31T09:45"],
    ),
    ("numbers", {"count": " 4 ", "limit": ""}, {"count": 8, "limit": ""}),
    ("numbers", {"count": "", "limit": "lots"}, {"count": 6, "limit": "lots"}),
    ("blanks", {}, dict.fromkeys(("topic", "notes", "code", "tone"))),
    (
        "blanks",
        {"topic": "", "notes": " ", "code": "short", "tone": ""},
        {"topic": "", "notes": " ", "code": 5, "tone": ""},
    ),
    ("boxes", {}, {"news": False, "terms": False}),
    ("boxes", {"news": "on", "terms": "yes"}, {"news": True, "terms": False}),
    ("messages", {"topic": "x"}, [["_global_", "mode", "topic"], None]),
    ("strangers", {"who": "Ada", "more": [1], "_x": None}, {"who": "Ada"}),
    ("choices", {"size": "xl", "city": "Ulm"}, {"size": "xl", "city": "Ulm"}),
    ("actions", {"comment": "x"}, {"comment": "x", "save": None, "send": None}),
    ("actions", {"send": "now"}, {"comment": None, "save": None, "send": "now"}),
    (
        "odd",
        {"five": "5", "many": "3x", "soon": "now", "twice": "on"},
        {"five": "5", "many": "3x", "soon": "now", "twice": "on", "papers": None},
    ),
    (
        "modern",
        {"email": "nobody", "url": "x", "tel": "1", "search": "s", "month": "2026-13"}
        | {"week": "w", "color": "red", "volume": "11", "campaign": "summer", "tone": "flat"},
        {"email": "nobody", "url": "x", "tel": "1", "search": "s", "month": "2026-13"}
        | {"week": "w", "color": "red", "volume": 11.0, "campaign": "summer", "tone": "flat"},
    ),
    ("uploads", {}, {"papers": None}),
    ("uploads", {"papers": "https://example.org/a.txt"}, {"papers": "https://example.org/a.txt"}),
]


@pytest.mark.parametrize(("flow", "sent", "found"), VALUES, ids=lambda value: str(value)[:30])
def test_values_arrive_as_they_were_sent(
    corpus: Koco, flow: str, sent: dict[str, Any], found: Any
) -> None:
    """Nothing is converted, checked or filled in before the handler."""
    assert result(corpus, f"values/{flow}", **sent) == found


def test_handlers_refuse_values_with_messages(corpus: Koco) -> None:
    """By field, without a field, and with the error's own arguments."""
    assert errors(corpus, "values/dates", day="soon") == {"day": ["soon is not a day"]}
    assert errors(corpus, "values/numbers", count="x") == {"count": ["'x' is not a number"]}
    assert errors(corpus, "values/messages") == {
        "topic": ["Please give me a topic.", "Any topic."],
        "_global_": ["A form was incomplete.", "It was not launched."],
    }
    found = errors(corpus, "values/messages", topic="x", mode="keyword")
    assert found == {"mode": ["Not this mode."]}


def test_a_form_can_be_taken_apart(corpus: Koco) -> None:
    """`get_model`, `get_model_json`, `children`, `model_validate`, `set_data` and `render`."""
    parts = corpus.get("/v1/services/values/app/parts")
    assert parts["children"] == ["Errors", "InputText", "Submit"]
    assert parts["model"]["type"] == "text" and parts["model"]["value"] is None
    assert parts["same"] is True
    assert 'value="&quot;x&quot;"' in parts["html"] and "Too short." in parts["html"]


def test_files_are_a_set_of_names(corpus: Koco) -> None:
    """The flow reads them below `in/`."""
    folder = corpus.root / "papers"
    folder.mkdir()
    (folder / "a.txt").write_text("first")
    (folder / "b.txt").write_text("second")
    given = ("-i", f"papers=@{folder / 'a.txt'}", "-i", f"papers=@{folder / 'b.txt'}")
    done = corpus.run("run", "values/uploads", *given, "--wait", "--json").ok()
    [fid] = [line["fid"] for line in done.lines() if "fid" in line][:1]
    found = Ended(fid, corpus.events(fid)).result
    assert found == ["set", {"a.txt": "first", "b.txt": "second"}]


def test_enter_at_a_terminal_means_empty_text(corpus: Koco) -> None:
    """A placeholder is an example, not a default."""
    out = corpus.root / "typed"
    args = ["-m", "koco", "run", "values/numbers", "-f", "--json"]
    with Typist(args, stdout=out, env=corpus.env) as typist:
        typist.sees("Count (number, 1 to 10) e.g. 3")
        typist.types("\n")
        typist.types("\n")
        assert typist.leaves() == 0, typist.seen
    assert '{"count":6,"limit":""}' in out.read_text().replace(" ", "")


LAUNCHES: list[tuple[str, dict[str, Any], Any]] = [
    ("keywords", {"topic": "night"}, "night"),
    ("lists", {"words": "a b c"}, ["c", "b", "a"]),
    ("sets", {}, [{"set": "set", "bytes": "bytes", "tuple": "tuple"}, 2]),
    ("objects", {"item": "pen"}, ["Order", 9, True]),
    ("models", {"name": "Ada"}, {"$type": "Person", "name": "Ada", "age": 37}),
    ("closures", {"word": "loud"}, "LOUD"),
    ("methods", {"who": "Ada"}, "Hello, Ada!"),
    ("mute", {}, 5),
]


@pytest.mark.parametrize(("flow", "sent", "found"), LAUNCHES, ids=lambda value: str(value)[:20])
def test_any_entrypoint_gets_any_inputs(
    corpus: Koco, flow: str, sent: dict[str, Any], found: Any
) -> None:
    """Lists, sets, objects and models; closures and methods."""
    assert result(corpus, f"launches/{flow}", **sent) == found


def test_an_execution_shows_what_its_launch_said(corpus: Koco) -> None:
    """The summary, the further data, and the details of the route."""
    [meta] = corpus.execute("launches/keywords", topic="night").of("meta")
    assert (meta["summary"], meta["extra"]) == ("About night", {"ticket": 7})
    assert (meta["author"], meta["organization"]) == ("ada@example.org", "Example")


def test_a_path_may_have_parameters(corpus: Koco) -> None:
    """And a handler sees the headers, the query and the prefix of its caller."""
    with corpus.http() as client:
        app = "/v1/services/launches/app"
        year = client.post(f"{app}/years/2026", json={"topic": "x"}).json()["result"]
        seen = client.post(f"{app}/callers?a=1", json={}, headers={"X-Ticket": "7"}).json()
    assert Ended(year, corpus.events(year)).result == {"topic": "x", "year": 2026}
    caller = Ended(seen["result"], corpus.events(seen["result"])).result
    assert caller == {
        **{"user": "admin", "prefix": app, "header": "7", "query": {"a": "1"}, "cookies": {}},
    }


@pytest.mark.parametrize(("how", "said"), [("raise", "no such thing"), ("", "Launch")])
def test_a_handler_may_fail(corpus: Koco, how: str, said: str) -> None:
    """With its exception, or without a `Launch`; the answer says so."""
    with corpus.http() as client:
        answer = client.post("/v1/flows/launches/refused", json={"how": how})
    assert answer.status_code >= 400 and said in answer.text


RUNS: list[tuple[str, dict[str, Any], Any]] = [
    ("listing", {}, [True, {"out/a.txt": 5, "out/deep/b.txt": 2}, True, ["b.txt"]]),
    ("cleanup", {}, [True, []]),
    ("environment", {}, [True, "admin"]),
    ("tasks", {"count": "3"}, [0, 1, 4]),
    ("rehearsal", {}, 1),
    ("crew", {"topic": "night"}, {"$type": "Output", "raw": "a hymn to night"}),
    ("defaults", {"x": "1"}, [{"x": "1"}, 2]),
    (
        "exports",
        {},
        [
            [
                *("InputsError", "KodosumiError", "Launch", "ServeAPI", "Templates"),
                *("Tracer", "TracerMock", "Model"),
            ],
            *(True, "x"),
        ],
    ),
    ("bodies", {}, {"type": "markdown", "body": "# Title\n\ntext"}),
]


@pytest.mark.parametrize(("flow", "sent", "found"), RUNS, ids=lambda value: str(value)[:20])
def test_flows_without_an_app_run_as_well(
    corpus: Koco, flow: str, sent: dict[str, Any], found: Any
) -> None:
    """Files, environment, Ray tasks, crews, bodies."""
    assert result(corpus, f"runs/{flow}", **sent) == found


def test_each_value_is_an_event(corpus: Koco) -> None:
    """Of `result` and `action`; objects keep the name of their class."""
    plain, shaped = corpus.execute("runs/results"), corpus.execute("runs/objects")
    assert plain.of("result") == [1, {"two": 2}, ["three"]]
    assert plain.of("action") == ["a", "b"]
    assert shaped.of("result") == [
        {"$type": "Verse", "text": "night"},
        {"$type": "Line", "number": 3},
    ]
    assert shaped.of("action") == [{"tool": "search"}]


def test_texts_are_joined(corpus: Koco) -> None:
    """Paragraphs for Markdown, lines for everything else."""
    ended = corpus.execute("runs/texts")
    assert ended.of("result") == [
        {"type": "markdown", "body": "# Title\n\ntext\n\n3"},
        {"type": "html", "body": "<b>a</b>\n<i>b</i>"},
        {"type": "text", "body": "a\nb"},
    ]
    assert (ended.of("debug"), ended.of("stderr")) == (["a\nb"], ["careful\nnow"])
    assert [each["body"] for each in corpus.execute("runs/bodies").of("result")] == [
        *("a\nb", "<p>\n</p>"),
    ]


def answer(corpus: Koco, fid: str, given: dict[str, Any], *, number: int = 1) -> Done:
    """Answer an execution's newest lock, once it has so many."""

    def newest() -> Any:
        locks = corpus.get_events(fid, kind="lock")
        return locks[-1]["payload"]["lid"] if len(locks) >= number else None

    path = f"/v1/executions/{fid}/locks/{eventually(newest)}"
    with corpus.http() as client:
        sent = client.post(path, json=given)
    return Done(sent.status_code, sent.text, "")


def test_a_lease_gets_all_that_was_answered(corpus: Koco) -> None:
    """Keys outside of the form, too. A refusal leaves the lock open."""
    fid = corpus.launch("people/approvals", amount="30")
    refused = answer(corpus, fid, {"who": "", "more": 1})
    assert refused.code == 422
    assert refused.json()["errors"] == {
        **{"who": ["Who are you?"], "_global_": ["It must be approved."]},
    }
    assert answer(corpus, fid, {"who": "Ada", "ok": "on", "more": 1}).code == 200
    ended = Ended(fid, corpus.events(fid))
    assert ended.result == {
        **{"who": "Ada", "ok": True, "more": 1, "amount": "30", "_global_": None},
    }
    assert ended.of("result") == [{"type": "markdown", "body": "# Approved\n\nby **Ada**"}]


def test_a_lock_without_a_lease_passes_values_on(corpus: Koco) -> None:
    """Two locks, one after the other; the values are text, also from a terminal."""
    fid = corpus.launch("people/plain-locks")
    eventually(lambda: corpus.get_events(fid, kind="lock"))
    with Typist(["-m", "koco", "answer", fid], env=corpus.env) as typist:
        typist.sees("How many? (number)")
        typist.types("3\n")
        typist.sees("sure (y/n)")
        typist.types("y\n")
        assert typist.leaves() == 0, typist.seen
    assert answer(corpus, fid, {"answer": ""}, number=2).code == 200
    found = Ended(fid, corpus.events(fid)).result
    assert found == [{"answer": "3", "sure": True}, {"answer": "", "sure": False}]


def test_a_lock_times_out(corpus: Koco) -> None:
    """With `TimeoutError`."""
    assert result(corpus, "people/timeouts") == "in vain"


def test_a_page_is_a_flow(corpus: Koco) -> None:
    """It is listed and shown, and its other route launches."""
    flow = corpus.get("/v1/flows/people/pages")
    assert (flow["summary"], flow["author"], flow["form"]) == ("Pages", "ada@example.org", None)
    with corpus.http() as client:
        shown = client.get("/v1/services/people/app/pages").text
        assert 'action="/v1/services/people/app/pages"' in shown
        fid = client.post("/v1/services/people/app/pages", data={"topic": "x"}).json()["fid"]
    assert Ended(fid, corpus.events(fid)).result == {"topic": "x"}


def test_templates_and_the_openapi_document_are_there(corpus: Koco) -> None:
    """An author's template extends Kodosumi's frame; `x-kodosumi` marks the flows."""
    with corpus.http() as client:
        news = client.get("/v1/services/people/app/news").text
        document = client.get("/v1/services/people/app/openapi.json").json()
    assert "<li>&lt;one&gt;</li>" in news and "<html" in news
    marked = [path for path, item in document["paths"].items() if item["get"].get("x-kodosumi")]
    assert set(marked) == {"/approvals", "/pages", "/plain-locks", "/timeouts"}
