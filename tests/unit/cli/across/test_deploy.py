"""`koco deploy --contexts` and `koco plan --contexts`: the same files on several control planes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from koco.errors import ConflictError, NotAllowedError
from tests.support.memory_plane import KEY, Plane
from tests.unit.cli.across.conftest import Two
from tests.unit.conftest import Cli
from tests.unit.docs.test_stream import checked

MANIFEST = "service: {0}\nflows: [{{name: greet, entrypoint: app:greet}}]\n"
UPDATE: dict[str, Any] = {"action": "update", "release": 2, "expect": 2, "parts": ["code"]}
BROKEN = {"status": "failed", "error": {"message": "boom", "detail": None, "hint": "mend it"}}
DEPLOY = ("deploy", "--contexts", "eu,us")


@pytest.fixture
def project(two: Two, tmp_path: Path) -> Path:
    """A project with one service; both planes have release 2 of it."""
    (tmp_path / "koco.toml").write_text('[project]\nname = "demo"\nmanifests = ["*.yaml"]\n')
    (tmp_path / "koco.yaml").write_text(MANIFEST.format("hello"))
    (tmp_path / "app.py").write_text("def greet(): ...\n")
    for plane in (two.eu, two.us):
        plane.steps["hello"] = UPDATE
        plane.releases = [{"status": "live"}]
    return tmp_path


def changes(plane: Plane) -> list[str]:
    """Return the requests that change services."""
    return [
        f"{method} {path.partition('?')[0]}"
        for method, path, _ in plane.requests
        if method in ("POST", "DELETE") and path.startswith("/v1/services")
    ]


def told(out: str) -> dict[str, Any]:
    """Return the payload of the line about the contexts."""
    [line] = [each for each in map(json.loads, out.splitlines()) if each["kind"] == "contexts"]
    payload: dict[str, Any] = line["payload"]
    return payload


def test_deploys_one_after_the_other(two: Two, project: Path, cli: Cli) -> None:
    """The same bundle, in the given order; each result says where."""
    ran = cli("deploy", "--contexts", "us,eu")
    assert ran.code == 0
    assert re.fullmatch(
        r"us  hello  release 3  live  \(.*\)\neu  hello  release 3  live  \(.*\)\n", ran.out
    )
    assert "context us, at " in ran.err and "eu: hello: uploaded" in ran.err
    assert changes(two.eu) == changes(two.us) == ["POST /v1/services/hello/releases"]
    assert two.eu.bundles.keys() == two.us.bundles.keys()


def test_all_plans_and_uploads_come_before_the_first_change(
    two: Two, project: Path, cli: Cli
) -> None:
    """A control plane without room for the bundle, or a missing secret, stops it in time."""
    lines = [json.loads(line) for line in cli(*DEPLOY, "--json").out.splitlines()]
    steps = [(each["kind"], each["payload"].get("context")) for each in lines]
    assert steps == [
        *(("plan", "eu"), ("plan", "us")),
        *(("bundled", "eu"), ("uploaded", "eu"), ("bundled", "us"), ("uploaded", "us")),
        *(("release", "eu"), ("live", "eu"), ("release", "us"), ("live", "us")),
        *(("contexts", None), ("status", None)),
    ]


def test_one_that_refuses_stops_all(two: Two, project: Path, cli: Cli) -> None:
    """Whichever it is: nothing is changed anywhere, with the refusal's exit code."""
    two.us.refuses = NotAllowedError("this key may not deploy", hint="ask an admin")
    ran = cli(*DEPLOY)
    assert (ran.code, changes(two.eu), two.eu.bundles) == (6, [], {})
    assert "error: us: this key may not deploy" in ran.err
    assert "hint: ask an admin; nothing was deployed anywhere" in ran.err


def test_one_that_is_away_stops_all(two: Two, project: Path, cli: Cli) -> None:
    """Exit code 3."""
    context_file.save_context(Context("asia", "http://127.0.0.1:9", KEY), False)
    ran = cli("deploy", "--contexts", "eu,asia")
    assert (ran.code, changes(two.eu)) == (3, [])
    assert "error: asia: " in ran.err and "nothing was deployed anywhere" in ran.err


def test_problems_of_one_stop_all(two: Two, project: Path, cli: Cli) -> None:
    """A secret that only one of them lacks; the message has both the place and the context."""
    problem = {"path": ["secrets"], "message": "no secret X is set", "hint": None}
    two.us.steps["hello"] = {**UPDATE, "problems": [problem]}
    ran = cli(*DEPLOY)
    assert (ran.code, changes(two.eu), changes(two.us)) == (2, [], [])
    assert re.search(r"^error: us: .*koco\.yaml:\d+:\d+: .*no secret X is set", ran.err, re.M)


def test_the_first_failure_ends_it(two: Two, project: Path, cli: Cli) -> None:
    """What is live where, what failed, and how to go back or go on; exit code 5."""
    two.us.releases = [BROKEN]
    context_file.save_context(Context("asia", two.us.url.replace("127.0.0.1", "localhost"), KEY))
    ran = cli("deploy", "--contexts", "eu,us,asia")
    assert ran.code == 5
    assert ran.err.endswith(
        "  eu  hello  release 3 is live; before: release 2\n"
        "  us  hello  release 3 failed; before: release 2\n"
        "  asia  hello  not changed\n"
        "to go back:\n"
        "  koco --context eu rollback hello 2\n"
        "to go on, which leaves alone what is live:\n"
        "  koco deploy --contexts eu,us,asia\n"
        "error: us: hello: release 3 failed: boom\n"
        "hint: mend it\n"
    )
    assert changes(two.us) == ["POST /v1/services/hello/releases"], "not to asia, which is the same"


def test_what_was_new_is_undeployed_to_go_back(two: Two, project: Path, cli: Cli) -> None:
    """There is no release before it."""
    two.eu.steps.clear()
    two.us.releases = [BROKEN]
    ran = cli(*DEPLOY)
    assert "  eu  hello  release 3 is live; it was not deployed before\n" in ran.err
    assert "  koco --context eu undeploy hello\n" in ran.err


def test_what_failed_without_a_fallback_can_go_back_too(two: Two, project: Path, cli: Cli) -> None:
    """Nothing serves there; where the first one fails, there is nothing else to undo."""
    two.eu.releases = [BROKEN]
    assert "to go back" not in cli(*DEPLOY).err
    ran = cli(*DEPLOY, "--no-rollback-on-failure")
    assert "to go back:\n  koco --context eu rollback hello 2\n" in ran.err
    assert "  koco deploy --contexts eu,us --no-rollback-on-failure\n" in ran.err


def test_json_tells_the_same_to_programs(two: Two, project: Path, cli: Cli) -> None:
    """In a line before the status, which has the exit code."""
    two.us.releases = [BROKEN]
    ran = cli(*DEPLOY, "--json")
    eu, us = told(ran.out)["items"]
    live = {"service": "hello", "status": "live", "release": 3, "former": 2}
    back = ["koco --context eu rollback hello 2"]
    assert eu == {
        **{"context": "eu", "url": two.eu.url, "status": "done"},
        **{"services": [live], "go_back": back},
    }
    assert (us["status"], us["services"][0]["status"], us["go_back"]) == ("failed", "failed", [])
    assert told(ran.out)["go_on"] == "koco deploy --contexts eu,us"
    status = json.loads(ran.out.splitlines()[-1])["payload"]
    assert (ran.code, status["exit_code"]) == (5, 5)
    assert status["error"]["message"] == "us: hello: release 3 failed: boom"


def test_a_success_tells_programs_how_to_go_back(two: Two, project: Path, cli: Cli) -> None:
    """There is nothing to go on with."""
    payload = told(cli(*DEPLOY, "--json").out)
    assert [each["status"] for each in payload["items"]] == ["done", "done"]
    assert payload["items"][1]["go_back"] == ["koco --context us rollback hello 2"]
    assert payload["go_on"] is None


def test_a_service_that_somebody_else_has_deployed_is_told(
    two: Two, project: Path, cli: Cli
) -> None:
    """It is not ours to roll back; exit code 2."""
    two.us.crossed = ConflictError("hello: release 3 was made by eve")
    ran = cli(*DEPLOY)
    assert ran.code == 2
    assert "  us  hello  not changed\n" in ran.err
    assert "error: us: hello: release 3 was made by eve\n" in ran.err


def test_a_lost_answer_leaves_a_doubt(
    two: Two, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request may have arrived: it is not told that nothing was changed."""
    monkeypatch.setenv("KOCO_RESTART_WAIT", "0")
    monkeypatch.setattr(two.us, "crossed", BrokenPipeError())
    ran = cli(*DEPLOY)
    assert ran.code == 3
    assert "  us  hello  no answer: a release may have begun; before: release 2\n" in ran.err
    assert "  koco --context eu rollback hello 2\n" in ran.err


def test_a_limit_is_for_all_together(two: Two, project: Path, cli: Cli) -> None:
    """Exit code 124; what was not reached is left alone."""
    two.eu.releases = [{"status": "starting"}]
    ran = cli(*DEPLOY, "--timeout", "0.3")
    assert (ran.code, changes(two.us)) == (124, [])
    assert "  eu  hello  release 3 is starting; before: release 2\n" in ran.err
    assert "  us  hello  not changed\n" in ran.err
    assert "  koco --context eu rollback hello 2\n" in ran.err


def test_no_wait_begins_everywhere(two: Two, project: Path, cli: Cli) -> None:
    """Whatever becomes of the first one."""
    two.eu.releases = [BROKEN]
    ran = cli(*DEPLOY, "--no-wait")
    assert (ran.code, ran.out) == (
        0,
        "eu  hello  release 3  starting\nus  hello  release 3  starting\n",
    )


def test_services_are_removed_after_all_are_live(two: Two, project: Path, cli: Cli) -> None:
    """One confirmation for all; a failure before that removes nothing anywhere."""
    for plane in (two.eu, two.us):
        plane.steps["old"] = {"action": "remove", "release": 7, "expect": 7}
    ran = cli(*DEPLOY, "--prune")
    assert (ran.code, changes(two.eu)) == (2, [])
    assert "remove old from eu, old from us" in ran.err
    two.us.releases = [BROKEN]
    cli(*DEPLOY, "--prune", "--yes")
    assert not [each for each in changes(two.eu) if each.startswith("DELETE")]
    two.us.releases = [{"status": "live"}]
    ran = cli(*DEPLOY, "--prune", "--yes", "--json")
    assert ran.code == 0
    assert changes(two.eu)[-1] == changes(two.us)[-1] == "DELETE /v1/services/old"
    assert "koco --context eu rollback old 7" in told(ran.out)["items"][0]["go_back"]


def test_what_one_keeps_does_not_stop_the_removal_on_others(
    two: Two, project: Path, cli: Cli
) -> None:
    """Executions run there; exit code 2."""
    for plane in (two.eu, two.us):
        plane.steps["old"] = {"action": "remove", "release": 7, "expect": 7}
    two.eu.busy = {"old"}
    ran = cli(*DEPLOY, "--prune", "--yes")
    assert ran.code == 2
    assert "us  old  removed\n" in ran.out
    assert "error: eu: old has 2 executions\n" in ran.err


def test_nothing_happens_if_nothing_has_changed(two: Two, project: Path, cli: Cli) -> None:
    """On neither of them."""
    for plane in (two.eu, two.us):
        plane.steps.clear()
        plane.unchanged = True
    ran = cli(*DEPLOY)
    assert ran.out == "eu  hello  unchanged (release 3)\nus  hello  unchanged (release 3)\n"
    assert (changes(two.eu), changes(two.us)) == ([], [])


def test_files_that_change_meanwhile_are_the_same_everywhere(
    two: Two, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are planned again with what was packed."""
    real = two.us.plan

    def save(data: dict[str, Any]) -> dict[str, Any]:
        (project / "app.py").write_text("def greet(): return 1\n")
        return real(data)

    monkeypatch.setattr(two.us, "plan", save)
    assert cli(*DEPLOY).code == 0
    asked = [
        [data["services"][0]["files"] for _, path, data in plane.requests if path == "/v1/plan"]
        for plane in (two.eu, two.us)
    ]
    eu, us = [files[-1] for files in asked]
    assert eu == us
    assert two.eu.bundled() == two.us.bundled()
    assert two.eu.bundled()[0]["app.py"] == "def greet(): return 1\n"


def test_plan_shows_each(two: Two, project: Path, cli: Cli) -> None:
    """Exit code 10 with --exit-code if one of them has something to do."""
    two.us.steps["hello"] = {"action": "unchanged", "release": 2, "expect": 2}
    ran = cli("plan", "--contexts", "eu,us", "--exit-code")
    assert ran.code == 10
    assert ran.out == (
        f"context eu, at {two.eu.url}\nhello  update  release 2  code\n1 to update\n"
        f"context us, at {two.us.url}\n1 unchanged\n"
    )
    assert cli("plan", "--contexts", "us", "--exit-code").code == 0
    eu, us = json.loads(cli("plan", "--contexts", "eu,us", "--json").out)["items"]
    assert (eu["context"], eu["counts"]["update"], us["counts"]["update"]) == ("eu", 1, 0)


def test_plan_shows_those_that_answer(two: Two, project: Path, cli: Cli) -> None:
    """The others are told on stderr, with their exit code."""
    context_file.save_context(Context("asia", "http://127.0.0.1:9", KEY), False)
    ran = cli("plan", "--contexts", "asia,us", "--exit-code")
    assert (ran.code, ran.out.splitlines()[0]) == (3, f"context us, at {two.us.url}")
    assert ran.err.startswith("error: asia: ")
    asia, us = json.loads(cli("plan", "--contexts", "asia,us", "--json").out)["items"]
    assert (asia["error"]["code"], "items" in asia, us["error"]) == ("unreachable", False, None)


def test_the_environment_is_for_all(two: Two, project: Path, cli: Cli) -> None:
    """Its values are used; its context gives way to those that are named."""
    with (project / "koco.toml").open("a") as file:
        file.write('[env.test]\ncontext = "nowhere"\n')
    ran = cli(*DEPLOY, "--env", "test")
    assert ran.code == 0
    assert ran.err.startswith("environment test\n")
    two.us.releases = [BROKEN]
    assert "  koco deploy --contexts eu,us --env test\n" in cli(*DEPLOY, "--env", "test").err


def test_the_lines_are_as_the_schema_has_them(two: Two, project: Path, cli: Cli) -> None:
    """Also the one about the contexts."""
    two.us.releases = [BROKEN]
    lines = checked(cli(*DEPLOY, "--json").out)
    assert lines[-2]["kind"] == "contexts"
