"""The examples: deployed together by one `koco deploy`, each run as its docstring says.

Every folder in examples/ has a test here that is named after it.
"""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from koco import testing
from koco.manifest.load import load
from tests.support.checkout import ROOT
from tests.support.completions import KEY, endpoint
from tests.support.driver import Done, Koco, eventually, kill9, koco_of_its_own


@pytest.fixture(scope="module")
def examples() -> Iterator[Koco]:
    """A koco that has all examples, deployed from the repository as it is."""
    with koco_of_its_own() as koco:
        koco.up()
        koco.run("deploy", cwd=ROOT).ok()
        yield koco


def run(koco: Koco, flow: str, *args: str) -> list[dict]:
    """Run a flow with `koco run -f --json`; return its events, which end with `finished`."""
    events = koco.run("run", flow, *args, "-f", "--json").ok().lines()
    assert events[-1]["payload"] == {"status": "finished"}
    return events


def of_kind(events: list[dict], kind: str) -> list:
    """Return the payloads of a kind."""
    return [event["payload"] for event in events if event["kind"] == kind]


def test_hello_greets(examples: Koco) -> None:
    """The form comes from the signature, what is printed is in the stream."""
    events = run(examples, "hello/greet", "-i", "who=Ada", "-i", "times=2")
    assert of_kind(events, "stdout") == ["Hello, Ada!", "Hello, Ada!"]
    assert of_kind(events, "final") == [{"type": "markdown", "body": "# Hello, Ada!"}]


@pytest.mark.parametrize("flow", ["gaps", "gaps-sync"])
def test_prime_reports_from_its_tasks(examples: Koco, flow: str) -> None:
    """Each task writes to the execution's stream; the widest gap below 100,000 is 72."""
    events = run(examples, f"prime/{flow}", "-i", "tasks=3")
    parts = of_kind(events, "result")
    assert sorted(part["from"] for part in parts) == [0, 33334, 66668]
    assert sum(part["primes"] for part in parts) == 9592
    assert "| 72 | 31,397 | 31,469 |" in of_kind(events, "final")[0]["body"]


def test_throughput_loses_nothing(examples: Koco) -> None:
    """As many results and lines are in the stream as the flow says it wrote."""
    events = run(examples, "throughput/flood", "-i", "seconds=0.5")
    [final] = of_kind(events, "final")
    assert of_kind(events, "result") == list(range(final["results"]))
    assert of_kind(events, "stdout") == [f"line {number}" for number in range(final["lines"])]
    assert final["events_per_second"] > 0


def test_form_shows_what_arrives(examples: Koco, tmp_path: Path) -> None:
    """Every element, typed: what is given by text, by file and by default, and a button."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    given = {"topic": "Rivers", "code": "a-secret-code", "seats": "2", "budget": "99.5"}
    given |= {"abstract": "They\nmeander.", "hour": "09:15", "arrival": "2027-06-01T18:30"}
    given |= {"dinner": "off", "meal": "fish", "contacts": '["ada@example.org"]', "then": "draft"}
    given |= {"contact": "ada@example.org", "phone": "+49 30 1", "homepage": "https://example.org"}
    given |= {"paper_month": "2027-03", "visit": "2027-W22", "friend": "Grace", "badge": "#FFAA00"}
    given |= {"slides": f"@{tmp_path / 'a.txt'}"}
    pairs = [f"-i{name}={value}" for name, value in given.items()]
    papers = [f"-ipapers=@{tmp_path / name}" for name in ("a.txt", "b.txt")]
    events = run(examples, "form/register", *pairs, *papers)
    shown = {
        **given,
        **{"code": "13 characters", "seats": 2, "budget": 99.5, "dinner": False},
        **{"day": "2027-06-02", "hour": "09:15:00", "arrival": "2027-06-01 18:30:00"},
        **{"contacts": ["ada@example.org"], "slides": "in/a.txt", "badge": "#ffaa00"},
        **{"size": "m", "experience": 5, "form_version": "2"},
        "papers": ["in/a.txt", "in/b.txt"],
    }
    assert of_kind(events, "result") == [shown]
    table = of_kind(events, "final")[0]["body"]
    assert all(f"| {name} | " in table for name in shown)


def test_form_refuses_all_that_is_wrong_at_once(examples: Koco) -> None:
    """Every message of every field, and the nearest name for one that it does not have."""
    given = ("-i", "topic=<b>", "-i", "code=short", "-i", "day=2027-07-01", "-i", "seets=2")
    done = examples.run("run", "form/register", *given)
    assert done.code == 2
    for said in (
        "topic: must match the pattern [^<>]+",
        "code: must have at least 8 characters, got 5",
        "day: must be 2027-06-03 or earlier, got 2027-07-01",
        "seets: is not a field of this form; did you mean 'seats'?",
    ):
        assert f"error: {said}\n" in done.err


def test_files_counts_words(examples: Koco, tmp_path: Path) -> None:
    """A folder and a file go up, a task counts each, and the table of all words comes back."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text("To be, or not to be.")
    (tmp_path / "b.txt").write_text("Be that as it may.\n")
    given = (f"-idocuments=@{tmp_path / 'docs'}", f"-idocuments=@{tmp_path / 'b.txt'}")
    events = run(examples, "files/words", *given, "-i", "top=2")
    assert [each["path"] for each in of_kind(events, "upload")] == [
        *("in/docs/a.txt", "in/b.txt", "out/words.csv"),
    ]
    assert "| in/docs/a.txt | 6 | to, be |" in of_kind(events, "final")[0]["body"]
    assert {each["path"]: each["words"] for each in of_kind(events, "result")} == {
        "in/docs/a.txt": 6,
        "in/b.txt": 5,
    }
    fid = of_kind(events, "meta")[0]["fid"]
    table = examples.run("files", "get", fid, "out/words.csv", "--to", "-").ok().out
    assert table.splitlines()[:3] == ["word,count", "be,3", "to,2"]


def test_agent_uses_its_tools_and_answers(examples: Koco) -> None:
    """Who it is, each use of a tool, and the answer are in the stream; so is no `eval`."""
    with endpoint() as url:
        given = ("-i", f"base_url={url}", "-i", f"key={KEY}", "-i", "model=small")
        events = run(examples, "agent/ask", *given, "-i", "question=17 * 2340 / 100")
        stubborn = run(examples, "agent/ask", *given, "-i", "question=__import__('os')")
    tools = {"name": "ask", "model": "small", "tools": ["calculate", "now"]}
    assert of_kind(events, "agent") == [tools]
    assert [step["tool"] for step in of_kind(events, "action")] == ["calculate", "now"]
    assert of_kind(events, "final")[0]["body"].startswith("It is 397.8, ")
    assert "only numbers" in of_kind(stubborn, "action")[0]["result"]["error"]


@pytest.mark.parametrize(
    ("key", "model", "said"),
    [("sk-wrong", "small", "refuses the key (401)"), (KEY, "broken", "sent no chat completion")],
)
def test_agent_says_what_the_endpoint_did_wrong(
    examples: Koco, key: str, model: str, said: str
) -> None:
    """A refused key and an answer that is none end in an error that says so."""
    with endpoint() as url:
        given = ("-i", f"base_url={url}", "-i", f"key={key}", "-i", f"model={model}")
        done = examples.run("run", "agent/ask", *given, "-i", "question=1+1", "-f")
    assert done.code == 1
    assert said in done.err + done.out


def test_agent_needs_an_endpoint_that_is_there(examples: Koco) -> None:
    """Nothing listens: the error names the URL."""
    given = ("-i", "base_url=http://127.0.0.1:1/v1", "-i", "question=1+1")
    done = examples.run("run", "agent/ask", *given, "-f")
    assert done.code == 1
    assert "http://127.0.0.1:1/v1/ does not answer" in done.err + done.out


def test_approval_asks_two_people(examples: Koco) -> None:
    """The manifest's form first, then that of `app`, whose lease wants a reason; then the text."""
    options = ("-i", "title=Hymn", "-i", "text=To the nihgt")
    fid = examples.run("run", "approval/review", *options).ok().out.strip()

    def answer(lock: str, *given: str) -> Done:
        eventually(lambda: lock in examples.run("inbox").out)
        return examples.run("answer", fid, lock, *given)

    answer("edit", "-i", "text=To the night").ok()
    shown = eventually(lambda: examples.get(f"/v1/executions/{fid}/locks/approval"))
    assert shown["form"][0]["text"] == "## Hymn\n\nTo the night"
    refused = answer("approval", "-i", "verdict=reject")
    assert refused.code == 2
    assert "why: Please say why it is rejected." in refused.err
    answer("approval", "-i", "verdict=publish").ok()
    examples.run("wait", fid).ok()
    assert examples.run("result", fid).ok().out == "# Hymn\n\nTo the night\n"


@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
def test_planner_has_a_document_reviewed(examples: Koco, protocol: str) -> None:
    """It finds the other service's flow, calls it over the protocol, and answers both people."""
    context = examples.context
    examples.run("secret", "set", "PLANNER_KEY", "-", stdin=context["key"]).ok()
    examples.run("deploy", "examples/planner", cwd=ROOT).ok()
    given = {"goal": "Have a document edited, then approved", "protocol": protocol}
    given |= {"facts": '{"title": "Hymn", "text": "To the night"}'}
    given |= {"url": context["url"]}
    options = [f"-i{name}={value}" for name, value in given.items()]
    events = run(examples, "planner/plan", *options)
    assert len(of_kind(events, "action")) == 3
    [final] = of_kind(events, "final")
    assert final["flow"] in ("approval/review", "approval.review")
    assert final["result"] == "# Hymn\n\nTo the night"
    called = examples.get(f"/v1/executions/{final['task']}")
    assert (called["flow"], called["status"]) == ("approval/review", "finished")
    assert context["key"] not in str(events)


def test_publisher_keeps_a_page(examples: Koco) -> None:
    """The same text has the same address, and its file is there."""
    given = ("-i", "title=To the Night", "-i", "text=It is long.")
    events = run(examples, "publisher/publish", *given)
    [published] = of_kind(events, "final")
    assert published["words"] == 3
    again = of_kind(run(examples, "publisher/publish", *given), "final")
    assert again == [published]
    fid = of_kind(events, "meta")[0]["fid"]
    path = f"out/{published['address']}.md"
    page = examples.run("files", "get", fid, path, "--to", "-").ok().out
    assert page == published["page"] == "# To the Night\n\nIt is long.\n"


#: How often the process of a report is killed.
_KILLS = 4


def test_research_gives_the_same_report_however_often_its_process_is_killed(
    examples: Koco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on after its last recorded step: no recorded step runs again.

    The exported history is replayed by the same code, without a model.
    """
    seed = random.randrange(10**6)
    print("seed", seed)
    prompts: list[str] = []
    with endpoint(delay_s=0.3, prompts=prompts) as url:
        calm = _report(examples, url)
        asked = Counter(prompts)
        prompts.clear()
        with _killing(examples, random.Random(seed)) as kills:
            troubled = _report(examples, url)
    assert kills, "its process was killed"
    assert calm["report"] == troubled["report"]
    assert calm["report"].count("## What is Tides") == 12
    assert Counter(asked.values()) == {1: 14}
    assert set(prompts) == set(asked)
    finished = Counter(
        each["step"] for each in of_kind(troubled["events"], "step") if each["status"] == "finished"
    )
    assert len(finished) == 14 + 2  # the sleep and the publication, too
    assert set(finished.values()) == {1}
    assert of_kind(calm["events"], "action") == of_kind(troubled["events"], "action")
    history = tmp_path / "history.json"
    examples.run("steps", troubled["fid"], "--export", str(history)).ok()
    monkeypatch.syspath_prepend(ROOT / "examples" / "research")
    replay = testing.replays("research:report", history, form=_form("research"))
    assert replay.outcome is not None
    assert replay.outcome.result["body"] == calm["report"]
    for each in (calm, troubled):
        children = examples.get("/v1/executions", parent=each["fid"])["items"]
        assert [child["flow"] for child in children] == ["publisher/publish"]


def _form(example: str) -> list[dict]:
    """Return the form of an example's flow."""
    [flow] = load(ROOT / "examples" / example / "koco.yaml").flows
    return list(flow.inputs or ())


def _report(koco: Koco, url: str) -> dict:
    """Have a report written, reviewed and published; return it, its fid and its events."""
    given = ("-i", f"base_url={url}", "-i", f"key={KEY}", "-i", "embargo_s=1")
    fid = koco.run("run", "research/report", "-i", "topic=Tides", *given).ok().out.strip()
    eventually(lambda: koco.get("/v1/locks", flow="research/report")["items"])
    koco.run("answer", fid, "review", "-i", "ok=yes").ok()
    koco.run("wait", fid).ok()
    events = koco.events(fid)
    return {"fid": fid, "report": of_kind(events, "final")[0]["body"], "events": events}


@contextlib.contextmanager
def _killing(koco: Koco, chance: random.Random) -> Iterator[list[int]]:
    """Kill the process of a report at random while the block runs; give the processes' ids.

    Never one that starts: Ray would wait a minute for it to report.
    """
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while len(killed) < _KILLS and not is_over.wait(chance.uniform(0.1, 1)):
            [latest] = koco.get("/v1/executions", flow="research/report", limit=1)["items"]
            if latest["status"] in ("running", "awaiting"):
                for pid in _runners(koco, "research"):
                    kill9(pid)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


def _runners(koco: Koco, service: str) -> list[int]:
    """Return the processes that run a service's flows."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            env = process.environ()
            if env.get("KOCO_SERVICE") == service and env.get("KOCO_HOME") == str(koco.home):
                found.append(process.pid)
    return found
