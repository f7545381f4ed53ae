"""`koco releases`, `koco rollback` and `koco undeploy`; and the origin of a release."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from koco.cli.commands import undeploy
from koco.cli.deploy.origin import origin
from koco.project import project
from tests.support.memory_plane import TS, Plane
from tests.support.typist import CTRL_C, Typist
from tests.unit.conftest import Cli

GIT = ("git", "-c", "user.name=ada", "-c", "user.email=ada@example.org")


def release(number: int, **facts: Any) -> dict[str, Any]:
    """Return a release as the API lists it."""
    base = {"service": "hello", "number": number, "status": "retired", "bundle": "ab" * 32}
    base |= {"created": TS, "ready": TS, "by": "ada", "error": None, "origin": {}, "timings": {}}
    return {**base, "fallback": True, "retired": None, "available": True, **facts}


# releases


def test_releases_lists_them_newest_first(plane: Plane, cli: Cli) -> None:
    """Number, status, who, commit, time to ready, and why one failed; a `+` is a dirty tree."""
    commit = "0123456789abcdef"
    plane.history = [
        release(3, status="live", origin={"rollback_of": 1}, timings={"upload": 0.5}),
        release(2, status="failed", ready=None, error={"message": "pip: no\nmore"}),
        release(1, origin={"commit": commit, "dirty": True}),
    ]
    assert [line.split("\t") for line in cli("releases", "hello").out.splitlines()] == [
        ["release", "status", "created", "by", "commit", "ready_s", "note"],
        ["3", "live", TS, "ada", "-", "0.500", "as release 1"],
        ["2", "failed", TS, "ada", "-", "-", "pip: no"],
        ["1", "retired", TS, "ada", f"{commit}+", "0.000", "-"],
    ]
    page = json.loads(cli("releases", "hello", "--json").out)
    assert [each["number"] for each in page["items"]] == [3, 2, 1]
    assert page["next"] is None


def test_releases_notes_that_there_are_more(plane: Plane, cli: Cli) -> None:
    """On stderr; with --json the cursor says it."""
    plane.history = [release(number) for number in (3, 2, 1)]
    ran = cli("releases", "hello", "--limit", "2")
    assert len(ran.out.splitlines()) == 3
    assert ran.err == "there are more; `--limit` above 2 shows them\n"


def test_a_release_is_shown_whole(plane: Plane, cli: Cli) -> None:
    """With the parts of its time, and the traceback that it failed with."""
    error = {"message": "flow 'x': boom", "detail": "Traceback\n  line 1", "hint": "mend it"}
    origin = {"project": "demo", "commit": "abc", "dirty": True}
    timings = {"environment": 1.5, "import": 0.25}
    plane.releases = [
        release(2, status="failed", error=error, origin=origin, timings=timings)
        | {"flows": [{"name": "hello/x"}], "available": False}
    ]
    ran = cli("releases", "hello", "2")
    for line in (
        "status       failed",
        "commit       abc, with changes",
        "took         environment 1.5 s, import 0.25 s",
        f"bundle       {'ab' * 32} (collected)",
        "error        flow 'x': boom",
        "  line 1",
    ):
        assert line in ran.out.splitlines()
    assert ran.err == "hint: mend it\n"


def test_releases_fit_a_terminal(plane: Plane, terminal: Cli) -> None:
    """80 columns, however long an error is."""
    plane.history = [release(2, status="failed", ready=None, error={"message": "no " * 60})]
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("releases", "hello").out)
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert "failed" in out


# rollback


def test_a_rollback_waits_as_a_deploy_does(plane: Plane, cli: Cli) -> None:
    """Without a number, to the release that was live before."""
    plane.releases = [{"status": "starting"}, {"status": "live"}]
    ran = cli("rollback", "hello", "--timeout", "900")
    assert ran.code == 0
    assert ran.out.startswith("hello  release 4  live  (")
    assert ran.err == "hello: release 4 is starting, as release 2\n"
    [body] = [data for method, _, data in plane.requests if method == "POST"]
    assert body == {"number": 2, "fallback": True, "timeout_s": 960.0}


def test_a_rollback_reports_progress_as_ndjson(plane: Plane, cli: Cli) -> None:
    """The kinds that a deploy has, and how it went at the end."""
    plane.releases = [{"status": "live"}]
    lines = [json.loads(line) for line in cli("rollback", "hello", "1", "--json").out.splitlines()]
    assert [line["kind"] for line in lines] == ["release", "live", "status"]
    assert lines[-1]["payload"]["status"] == "finished"


def test_a_rollback_that_fails_exits_5(plane: Plane, cli: Cli) -> None:
    """What is live serves on."""
    plane.releases = [{"status": "failed", "error": {"message": "gone", "detail": None}}]
    ran = cli("rollback", "hello", "1")
    assert ran.code == 5
    assert "release 4 failed: gone" in ran.err


def test_a_rollback_to_nothing_is_refused(plane: Plane, cli: Cli) -> None:
    """Exit code 4 if there was no earlier release, or no such service."""
    plane.former = None
    ran = cli("rollback", "hello")
    assert ran.code == 4
    assert "no earlier release that served" in ran.err
    assert cli("rollback", "nobody").code == 4


def test_a_rollback_need_not_be_waited_for(plane: Plane, cli: Cli) -> None:
    """Then it says what is starting."""
    assert cli("rollback", "hello", "--no-wait").out == "hello  release 4  starting\n"


# undeploy


def test_undeploying_in_a_script_needs_yes(plane: Plane, cli: Cli) -> None:
    """Without --yes nothing is done: exit 2."""
    ran = cli("undeploy", "hello")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert not [each for each in plane.requests if each[0] == "DELETE"]
    assert cli("undeploy", "hello", "--yes").out == "hello  undeployed (release 3)\n"


@pytest.mark.parametrize(("typed", "code"), [("y\r", 0), ("\r", 130), ("no\r", 130)])
def test_undeploying_asks_a_person(plane: Plane, typed: str, code: int) -> None:
    """The question names the services; Enter alone means no."""
    with Typist(["-m", "koco", "undeploy", "hello"]) as person:
        person.types(typed, after="Undeploy hello? 2 flows, release 3 live [y/N]")
        assert person.leaves() == code
    done = [path for method, path, _ in plane.requests if method == "DELETE"]
    assert bool(done) is (code == 0)
    assert all("expect=3" in path for path in done), "what is there then may be another release"


@pytest.mark.parametrize(("args", "expect"), [(["--yes"], None), ([], "expect=0")])
def test_undeploying_removes_only_the_confirmed_release(
    plane: Plane, cli: Cli, args: list[str], expect: str | None
) -> None:
    """Whatever that is with --yes; else nothing that somebody has deployed since it looked."""
    plane.deployed = False
    assert cli("undeploy", "hello", *args).code == 0
    [path] = [path for method, path, _ in plane.requests if method == "DELETE"]
    assert (expect in path) if expect else ("expect" not in path)


def test_undeploying_refuses_while_executions_run(plane: Plane, cli: Cli) -> None:
    """Exit 2, with how many."""
    plane.busy = {"hello"}
    ran = cli("undeploy", "hello", "--yes")
    assert ran.code == 2
    assert "2 executions" in ran.err


@pytest.mark.parametrize("mode", ["drain", "cancel"])
def test_undeploying_waits_for_open_executions(
    plane: Plane, cli: Cli, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of open executions is reported when it changes."""
    monkeypatch.setattr(undeploy, "_POLL_S", 0.01)
    plane.running = [{"running": 2}, {"running": 2}, {"running": 1}]
    plane.deployed = False
    ran = cli("undeploy", "hello", f"--{mode}", "--yes")
    assert ran.code == 0
    assert ran.out == "hello  undeployed (release 3)\n"
    assert ran.err.splitlines() == ["hello: waiting for 2 running", "hello: waiting for 1 running"]
    [url] = [path for method, path, _ in plane.requests if method == "DELETE"]
    assert f"running={mode}" in url


def test_a_drain_says_how_many_are_parked(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may wait for months."""
    monkeypatch.setattr(undeploy, "_POLL_S", 0.01)
    plane.running = [{"running": 1, "sleeping": 2}] * 2 + [{"sleeping": 1}]
    plane.deployed = False
    assert cli("undeploy", "hello", "--drain", "--yes").err.splitlines() == [
        "hello: waiting for 1 running, 2 sleeping (2 parked: until what they wait for comes)",
        "hello: waiting for 1 sleeping (1 parked: until what they wait for comes)",
    ]


def test_a_drain_has_its_time(plane: Plane, cli: Cli) -> None:
    """Exit code 124; the executions go on, and the next command waits for them."""
    plane.running = [{"running": 1}] * 99
    plane.deployed = False
    ran = cli("undeploy", "hello", "--drain", "--yes", "--timeout", "0.2")
    assert ran.code == 124
    assert "not ended within 0.2 s: 1 running" in ran.err
    assert "--drain" in ran.err


def test_a_drain_goes_on_after_ctrl_c(plane: Plane) -> None:
    """Ctrl-C: exit 130, and a word about it."""
    plane.running = [{"running": 1}] * 99
    plane.deployed = False
    with Typist(["-m", "koco", "undeploy", "hello", "--drain"]) as person:
        person.types(CTRL_C, after="waiting for 1 running")
        assert "launches are refused" in person.sees("--drain")
        assert person.leaves() == 130


def test_undeploying_twice_is_not_an_error(plane: Plane, cli: Cli) -> None:
    """So that a script can be run again; a name that never was is one."""
    plane.deployed = False
    assert cli("undeploy", "hello").out == "hello  not deployed\n"
    assert cli("undeploy", "nobody", "--yes").code == 4
    assert cli("undeploy", "hello", "--drain", "--cancel").code == 2


# what nothing serves


def test_flows_notes_services_that_are_not_served(plane: Plane, cli: Cli) -> None:
    """On stderr, below the flows; also if there are none."""
    plane.services = [{"service": "strict", "release": 2, "status": "failed"}]
    told = "strict is not served: release 2 failed; `koco status` says why\n"
    assert cli("flows").err == told
    plane.flows.clear()
    assert cli("flows").err == told


# where it comes from


def git(folder: Path, *args: str) -> str:
    done = subprocess.run([*GIT, *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _manifest(service: str) -> str:
    return f"service: {service}\nflows: [{{name: flow, entrypoint: 'm:f'}}]\n"


@pytest.fixture
def target(tmp_path: Path) -> project.Target:
    """A service in a folder of a repository, with a neighbour, all committed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "koco.yaml").write_text(_manifest(name))
    (tmp_path / ".gitignore").write_text("*.log\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    return project.Target(tmp_path / "one" / "koco.yaml")


def test_sends_the_commit_and_whether_files_differ(target: project.Target) -> None:
    """Only files in the service's folder count, except those that git ignores."""
    commit = git(target.root, "rev-parse", "HEAD")
    clean = {"hidden_env": [], "commit": commit, "dirty": False}
    assert origin(target) == clean
    (target.root.parent / "two" / "koco.yaml").write_text("changed")
    (target.root / "x.log").touch()
    assert origin(target) == clean
    (target.root / "new.py").touch()
    assert origin(target) == clean | {"dirty": True}


def test_a_detached_shallow_clone_has_its_commit(target: project.Target, tmp_path: Path) -> None:
    """As CI checks it out."""
    commit = git(target.root, "rev-parse", "HEAD")
    url = f"file://{target.root.parent}"
    git(tmp_path, "clone", "-q", "--depth", "1", url, "ci")
    git(tmp_path / "ci", "checkout", "-q", "--detach")
    found = project.Target(tmp_path / "ci" / "one" / "koco.yaml")
    assert origin(found) == {"hidden_env": [], "commit": commit, "dirty": False}


def test_without_git_there_is_no_commit(
    target: project.Target, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    """No repository, one without a commit, or no git at all: no deploy fails for that."""
    plain = tmp_path_factory.mktemp("plain")
    (plain / "koco.yaml").write_text(_manifest("plain"))
    none: dict[str, Any] = {"hidden_env": []}
    demo = project.Project("demo", plain, ())
    assert origin(project.Target(plain / "koco.yaml", demo)) == none | {"project": "demo"}
    git(plain, "init", "-q")
    assert origin(project.Target(plain / "koco.yaml")) == none
    monkeypatch.setenv("PATH", str(plain))
    assert origin(target) == none
