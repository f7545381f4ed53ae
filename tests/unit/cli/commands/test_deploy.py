"""`koco deploy`: requests, their order, and outcomes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

MANIFEST = "service: {0}\nflows: [{{name: greet, entrypoint: app:greet}}]\n"
BROKEN = {
    "status": "failed",
    "error": {
        "message": "flow 'greet': ModuleNotFoundError: No module named 'nope'",
        "detail": 'Traceback (most recent call last):\n  File "app.py", line 1\nboom',
        "hint": "ship the module",
    },
}


@pytest.fixture
def project(plane: Plane, tmp_path: Path) -> Path:
    """A project with one service, in the current directory."""
    (tmp_path / "koco.toml").write_text('[project]\nname = "demo"\n')
    (tmp_path / "koco.yaml").write_text(MANIFEST.format("hello"))
    (tmp_path / "app.py").write_text("def greet(): ...\n")
    plane.releases = [{"status": "starting"}, {"status": "live"}]
    return tmp_path


@pytest.fixture
def two(project: Path) -> list[str]:
    """Two projects in folders, to be deployed by name."""
    for name in ("one", "two"):
        (project / name).mkdir()
        (project / name / "koco.yaml").write_text(MANIFEST.format(name))
        (project / name / "app.py").write_text("def greet(): ...\n")
    return ["one/koco.yaml", "two/koco.yaml"]


def released(plane: Plane) -> dict[str, Any]:
    """Return the body of the first release that was made."""
    found = next(data for _, path, data in plane.requests if path.endswith("/releases"))
    body: dict[str, Any] = found
    return body


def made(plane: Plane) -> list[tuple[str, str]]:
    """Return the requests, without queries and hashes."""
    return [(method, path.partition("?")[0][:20]) for method, path, _ in plane.requests]


def test_it_bundles_uploads_releases_and_waits(plane: Plane, project: Path, cli: Cli) -> None:
    """Stdout has the outcome, stderr the progress."""
    ran = cli("deploy")
    assert ran.code == 0
    assert ran.out.startswith("hello  release 3  live  (")
    plan, file, counts, bundled, *rest = ran.err.splitlines()
    assert plan.startswith("hello  create  1 file, ")
    assert (file, counts) == ("    + app.py  17 B", "1 to create")
    assert bundled.startswith("hello: bundled 1 file, ")
    assert rest == ["hello: uploaded", "hello: release 3 is starting"]
    asked, *uploads, begun, waited, waited_again = made(plane)
    assert asked == ("POST", "/v1/plan")
    assert {path for _, path in uploads} == {"/v1/bundles/"[:20] + plane.requests[1][1][12:20]}
    assert begun == ("POST", "/v1/services/hello/r")
    assert waited == waited_again == ("GET", "/v1/services/hello/r")


def test_sends_the_manifest_and_its_bundle(plane: Plane, project: Path, cli: Cli) -> None:
    """The bundle by its hash, the manifest with its defaults."""
    cli("deploy")
    body = released(plane)
    content = plane.bundles[body["bundle"]]
    assert hashlib.sha256(content).hexdigest() == body["bundle"]
    assert body["manifest"]["service"] == "hello"
    assert "runner" not in body["manifest"], "the control plane knows the defaults"
    assert "timeout_s" not in body


def test_does_not_upload_an_existing_bundle(plane: Plane, project: Path, cli: Cli) -> None:
    """It is looked up by its hash first."""
    cli("deploy")
    plane.requests.clear()
    assert "already has this bundle" in cli("deploy").err
    assert not [path for method, path, _ in plane.requests if method == "PUT"]


def test_does_nothing_if_nothing_has_changed(plane: Plane, project: Path, cli: Cli) -> None:
    """No waiting either."""
    plane.unchanged = True
    ran = cli("deploy")
    assert (ran.code, ran.out) == (0, "hello  unchanged (release 3)\n")
    assert made(plane)[-1][0] == "POST"


def test_a_failed_release_shows_the_users_traceback(plane: Plane, project: Path, cli: Cli) -> None:
    """Then the error, the hint and what still serves; exit code 5."""
    plane.releases = [BROKEN]
    ran = cli("deploy")
    assert (ran.code, ran.out) == (5, "")
    assert "hello: release 2 still serves\n" in ran.err
    assert ran.err.endswith(
        'Traceback (most recent call last):\n  File "app.py", line 1\nboom\n'
        "error: hello: release 3 failed: "
        "flow 'greet': ModuleNotFoundError: No module named 'nope'\n"
        "hint: ship the module\n"
    )


def test_json_has_each_step_on_a_line(plane: Plane, project: Path, cli: Cli) -> None:
    """Shaped as events are, the last one saying how it went; stderr is silent."""
    ran = cli("deploy", "--json")
    *steps, status = [json.loads(line) for line in ran.out.splitlines()]
    assert {tuple(step) for step in (*steps, status)} == {("ts", "kind", "payload")}
    assert [step["kind"] for step in steps] == ["plan", "bundled", "uploaded", "release", "live"]
    assert steps[0]["payload"]["counts"]["create"] == 1
    assert {step["payload"]["service"] for step in steps[1:]} == {"hello"}
    assert steps[-1]["payload"]["release"] == 3
    assert (status["kind"], status["payload"]) == ("status", {"status": "finished"})
    assert ran.err == ""


def test_json_of_a_failure_has_it_on_both(plane: Plane, project: Path, cli: Cli) -> None:
    """As a step and as the status on stdout, as the command's error on stderr."""
    plane.releases = [BROKEN]
    ran = cli("deploy", "--json")
    assert ran.code == 5
    failed, status = map(json.loads, ran.out.splitlines()[-2:])
    assert (failed["kind"], failed["payload"]["error"]["hint"]) == ("failed", "ship the module")
    assert (status["payload"]["status"], status["payload"]["exit_code"]) == ("error", 5)
    assert status["payload"]["error"]["code"] == "deploy_failed"
    assert json.loads(ran.err)["error"]["code"] == "deploy_failed"


@pytest.mark.parametrize("options", [(), ("--no-wait",)])
def test_reports_a_release_that_has_already_failed(
    plane: Plane, project: Path, cli: Cli, options: tuple[str, ...]
) -> None:
    """It was on its way when the plan was made, by a deploy that was killed: exit code 5."""
    plane.begun = BROKEN
    ran = cli("deploy", *options)
    assert (ran.code, ran.out) == (5, "")
    assert "is starting" not in ran.err
    assert "error: hello: release 3 failed: flow 'greet': ModuleNotFoundError" in ran.err


def test_no_wait_returns_while_it_is_starting(plane: Plane, project: Path, cli: Cli) -> None:
    """For those who look later."""
    ran = cli("deploy", "--no-wait")
    assert (ran.code, ran.out) == (0, "hello  release 3  starting\n")
    assert not [path for method, path, _ in plane.requests if method == "GET"]


def test_a_limit_ends_the_waiting_not_the_deploy(plane: Plane, project: Path, cli: Cli) -> None:
    """Exit code 124; the control plane gets a longer limit."""
    plane.releases = [{"status": "starting", "waits_for": "no node has 4 GPU\nso it waits"}]
    ran = cli("deploy", "--timeout", "0.3")
    assert ran.code == 124
    assert "the control plane goes on with it: no node has 4 GPU; so it waits" in ran.err
    body = released(plane)
    assert body["timeout_s"] == 600


def test_the_projects_limit_is_the_default(plane: Plane, project: Path, cli: Cli) -> None:
    """`[deploy] timeout` in koco.toml, in seconds."""
    (project / "koco.toml").write_text('[project]\nname = "demo"\n[deploy]\ntimeout = 0.2\n')
    plane.releases = [{"status": "starting"}]
    assert cli("deploy").code == 124


def test_all_manifests_are_checked_before_anything_is_sent(
    plane: Plane, project: Path, two: list[str], cli: Cli
) -> None:
    """The problems of all of them at once; nothing is half deployed."""
    (project / "one" / "koco.yaml").write_text("service: one\nflos: []\n")
    (project / "two" / "koco.yaml").write_text("service: 2\n")
    ran = cli("deploy", *two)
    assert (ran.code, plane.requests) == (2, [])
    assert "one/koco.yaml:2:1: " in ran.err
    assert "two/koco.yaml:1:10" in ran.err


def test_two_manifests_of_one_service_are_refused(
    plane: Plane, project: Path, two: list[str], cli: Cli
) -> None:
    """One would undo the other."""
    (project / "two" / "koco.yaml").write_text(MANIFEST.format("one"))
    assert (cli("deploy", *two).code, plane.requests) == (2, [])


def test_a_failure_does_not_hide_the_outcome_of_others(
    plane: Plane, project: Path, two: list[str], cli: Cli
) -> None:
    """Both are begun and reported; the exit code is the failure's."""
    plane.releases = [BROKEN, {"status": "live"}]
    ran = cli("deploy", *two)
    assert ran.code == 5
    assert ran.out.startswith("two  release 3  live")
    assert "one: release 3 failed" in ran.err


def test_a_failure_outweighs_a_limit(plane: Plane, project: Path, two: list[str], cli: Cli) -> None:
    """A release that failed is not hidden by one that is slow."""
    plane.stuck, plane.releases = {"one"}, [BROKEN]
    assert cli("deploy", *two, "--timeout", "0.1").code == 5
    plane.releases = [{"status": "live"}]
    ran = cli("deploy", *two, "--timeout", "0.1")
    assert ran.code == 124
    assert ran.out.startswith("two  release 3  live")


def test_a_missing_project_is_not_found(plane: Plane, cli: Cli) -> None:
    """With the command that makes one."""
    ran = cli("deploy")
    assert ran.code == 4
    assert "koco init" in ran.err


def test_ctrl_c_notes_that_the_deploy_goes_on(plane: Plane, project: Path) -> None:
    """Exit code 130: accepted releases are not withdrawn."""
    plane.releases = [{"status": "starting"}]
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "deploy"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        plane.wait_for("/releases/3")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_terminal_gets_a_bar_that_goes_away(plane: Plane, project: Path, terminal: Cli) -> None:
    """Drawn while it uploads; the result stays."""
    (project / "large.bin").write_bytes(os.urandom(3_000_000))
    ran = terminal("deploy")
    assert ran.code == 0
    assert "uploading" in ran.out
    assert "hello  release 3  live" in ran.out.splitlines()[-1]


@pytest.fixture
def busy(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that takes two looks to become live, each of which is worth a line."""
    doing = {"status": "starting", "doing": "packages are being installed"}
    waits = {"waits_for": "no node has free 1 CPU; held by the Ray task count (2 CPU)"}
    plane.releases = [{"status": "starting"}, doing, doing | waits, {"status": "live"}]
    monkeypatch.setattr("koco.cli.deploy.wait_live._SAY_S", 0.0)


def test_a_log_has_lines_with_the_activity(project: Path, busy: None, cli: Cli) -> None:
    """At most one per interval; a wait for room is reported once, with the holder."""
    ran = cli("deploy")
    assert ran.code == 0
    assert "hello: packages are being installed (0 s)\n" in ran.err
    assert ran.err.count("waits for room: no node has free 1 CPU; held by the Ray task") == 1
    assert "\x1b" not in ran.err + ran.out


def test_json_has_separate_lines_with_the_activity(project: Path, busy: None, cli: Cli) -> None:
    """Stdout is nothing but JSON, stderr is silent."""
    ran = cli("deploy", "--json")
    steps = [json.loads(line) for line in ran.out.splitlines()]
    waiting = [step["payload"] for step in steps if step["kind"] == "waiting"]
    assert "packages are being installed" in {step["doing"] for step in waiting}
    assert "held by" in next(step["waits_for"] for step in waiting if "waits_for" in step)
    assert ran.err == ""


def test_a_terminal_shows_the_activity_on_a_temporary_line(
    project: Path, busy: None, terminal: Cli
) -> None:
    """It never wraps, and nothing of it is left."""
    ran = terminal("deploy")
    shown = [part for part in ran.out.split("\r") if "packages are being" in part]
    assert shown
    assert all(len(part) < 100 for part in shown)
    last = ran.out.rstrip().rpartition("\r")[2]
    assert "hello  release 3  live" in last
    assert "packages" not in last


def test_reports_a_release_that_breaks_while_others_start(
    plane: Plane, two: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As koco has gone back from it meanwhile; exit code 5."""
    monkeypatch.setattr("koco.cli.deploy.wait_live._AGAIN_S", -1.0)
    broken = {"status": "failed", "error": {"message": "2 of its runners died"}}
    plane.releases = [{"status": "live"}, {"status": "live"}, broken, broken]
    ran = cli("deploy", *two)
    assert ran.code == 5
    assert "one: release 3 failed: 2 of its runners died" in ran.err
