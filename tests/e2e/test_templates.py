"""The templates of `koco init` as their READMEs say: each deployed and run on a real Ray.

`hello` is in `test_main_job`.
"""

from pathlib import Path

from tests.support.driver import Done, Koco


def deploy(koco: Koco, template: str) -> None:
    """Make a project of a template, and deploy it as the service `my-TEMPLATE`."""
    koco.run("init", f"my-{template}", "--template", template).ok()
    koco.run("deploy", f"my-{template}").ok()


def follow(koco: Koco, *args: str) -> list[dict]:
    """Run a flow to its end; return its events."""
    return koco.run("run", *args, "-f", "--json").ok().lines()


def of_kind(events: list[dict], kind: str) -> list:
    return [event["payload"] for event in events if event["kind"] == kind]


def waiting(koco: Koco, *args: str) -> str:
    """Launch a flow that asks a person, and return its fid once it does."""
    fid = koco.run("run", *args).ok().out.strip()
    assert koco.run("wait", fid, "--no-input", "--timeout", "60").code == 8
    return fid


def result(koco: Koco, fid: str) -> Done:
    koco.run("wait", fid, "--timeout", "60").ok()
    return koco.run("result", fid).ok()


def test_parallel_reports_progress_from_its_tasks(koco: Koco) -> None:
    """Ray tasks on a real cluster write to the execution's stream, in one order."""
    deploy(koco, "parallel")
    events = follow(koco, "my-parallel/primes", "-i", "slices=3")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert sum(part["primes"] for part in of_kind(events, "result")) == 17984
    assert "**17,984**" in of_kind(events, "final")[0]["body"]


def test_files_reads_what_is_uploaded_and_makes_a_table(koco: Koco, tmp_path: Path) -> None:
    """A file and a folder go up, the table comes back."""
    deploy(koco, "files")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text("To be, or not to be.")
    (tmp_path / "b.txt").write_text("Be that as it may.\n")
    given = (f"-idocuments=@{tmp_path / 'docs'}", f"-idocuments=@{tmp_path / 'b.txt'}")
    events = follow(koco, "my-files/words", *given)
    assert "| in/docs/a.txt | 6 | to, be, or |" in of_kind(events, "final")[0]["body"]
    table = koco.run("files", "get", "-", "out/words.csv", "--to", "-").ok().out
    assert table.splitlines()[:3] == ["word,count", "be,3", "to,2"]


def test_endpoint_checks_launches_and_asks(koco: Koco) -> None:
    """Its handlers refuse a long text and a rejection without a reason; its own route answers."""
    deploy(koco, "endpoint")
    long = koco.run("run", "my-endpoint/review", "-i", "title=x", "-i", f"text={'x ' * 501}")
    assert (long.code, "at most 500 words, not 501" in long.err) == (2, True)
    fid = waiting(koco, "my-endpoint/review", "-i", "title=Hymn", "-i", "text=Night")
    bare = koco.run("answer", fid, "-i", "verdict=reject")
    assert (bare.code, "Please say why" in bare.err) == (2, True)
    koco.run("answer", fid, "-i", "verdict=publish").ok()
    assert "Night" in result(koco, fid).out


def test_durable_is_answered_and_sent_a_message(koco: Koco) -> None:
    """With the commands of its README; what it records is listed."""
    deploy(koco, "durable")
    fid = koco.run("run", "my-durable/order").ok().out.strip()
    koco.run("send", fid, "courier", "-i", "name=Ada").ok()
    assert koco.run("wait", fid, "--no-input", "--timeout", "60").code == 8
    koco.run("answer", fid, "approve", "-i", "ok=yes").ok()
    assert "Lamp from shelf 6: paid 50, with Ada" in result(koco, fid).out
    steps = koco.run("steps", fid, "--json").ok().json()["items"]
    assert {"reserve:0", "charge:0", "sleep:0", "receive.courier:0"} <= {s["key"] for s in steps}
    assert koco.run("show", fid, "--json").ok().json()["durable"] is True


def test_agent_asks_a_person_before_it_pays(koco: Koco) -> None:
    """Against the stand-in, so without a network: a question, a refund, and one that is refused."""
    deploy(koco, "agent")
    events = follow(koco, "my-agent/support", "-i", "question=What is order 1043?")
    assert of_kind(events, "final")[0]["body"] == "Order 1043 is a Chair for 120."
    fid = waiting(koco, "my-agent/support", "-i", "question=Please refund order 1042")
    koco.run("answer", fid, "-i", "ok=yes").ok()
    assert "I have paid back 50 for order 1042" in result(koco, fid).out.replace("*", "")
    fid = waiting(koco, "my-agent/support", "-i", "question=Please refund order 1042")
    koco.run("answer", fid, "-i", "ok=no", "-i", "why=too late").ok()
    assert "I cannot refund order 1042: too late" in result(koco, fid).out


def test_a_function_that_existed_is_a_flow(koco: Koco) -> None:
    """With the manifest that `koco init --from` writes, and a form from its signature."""
    folder = koco.root / "my-own"
    folder.mkdir()
    code = '"""Ours."""\n\ndef double(number: int):\n    """Double it."""\n    return 2 * number\n'
    (folder / "ours.py").write_text(code)
    koco.run("init", "--from", "ours:double", cwd=folder).ok()
    koco.run("deploy", cwd=folder).ok()
    assert of_kind(follow(koco, "my-own/double", "-i", "number=21"), "final") == [42]
