"""The contract of streams: the schema, its page, and what the commands write."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from koco.events import line, schema
from koco.events.model import Kind
from tests.unit.conftest import Cli
from tests.unit.plane import Plane
from tests.unit.test_cli_deploy import BROKEN, project  # noqa: F401 - a fixture

SCHEMA = schema.json_schema()
PAGE = (Path(__file__).parents[2] / "docs/stream.md").read_text()


def checked(out: str) -> list[dict[str, Any]]:
    """Return the lines of a stream; each is JSON, of a kind that is known, as the schema says."""
    assert out.endswith("\n") or not out
    lines = [json.loads(each) for each in out.splitlines()]
    for each in lines:
        jsonschema.validate(each, SCHEMA, cls=jsonschema.Draft202012Validator)
        assert each["kind"] in (schema.EVENTS if "seq" in each else schema.STEPS)
    return lines


def test_the_schema_is_one_and_has_its_version() -> None:
    """Draft 2020-12; the contract's version is in its identity."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "urn:koco:schema:stream:1"
    assert f"`{SCHEMA['$id']}`" in PAGE


def test_koco_schema_prints_it(cli: Cli) -> None:
    """And that of manifests where nothing is said."""
    assert json.loads(cli("schema", "stream").out) == SCHEMA
    assert json.loads(cli("schema").out)["$id"] == "urn:koco:schema:manifest:1"
    assert cli("schema", "nonsense").code == 2


def test_every_kind_has_its_schema_and_its_row() -> None:
    """Events' rows are in events.md, which its own test holds complete."""
    assert set(schema.EVENTS) == set(Kind)
    rows = re.findall(r"^\| `([a-z]+)` \|", PAGE, re.M)
    assert sorted(set(rows) & set(schema.STEPS)) == sorted(schema.STEPS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "live", "payload": {}},
        {"ts": "2026-01-31T12:00:00Z", "kind": "x", "payload": 1},
        {"ts": "2026-01-31T12:00:00.000000Z", "kind": "live", "payload": {"service": "x"}},
        {"ts": "2026-01-31T12:00:00.000000Z", "kind": "stdout", "payload": 1, "seq": 1},
        {"ts": "2026-01-31T12:00:00.000000Z", "kind": "status", "payload": {"status": "?"}},
    ],
    ids=["no-ts", "short-ts", "no-release", "no-text", "no-status"],
)
def test_what_is_no_line_is_refused(wrong: dict[str, Any]) -> None:
    """The schema says something."""
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


def test_a_kind_to_come_and_a_key_more_are_let_pass() -> None:
    """Adding is compatible."""
    ts = "2026-01-31T12:00:00.000000Z"
    more = {"ts": ts, "kind": "status", "payload": {"status": "finished", "more": 1}, "also": 2}
    for each in (more, {"ts": ts, "kind": "new", "payload": None}):
        jsonschema.validate(each, SCHEMA)


def test_a_payload_that_was_cut_is_a_line_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its kind promises."""
    monkeypatch.setattr(line, "PAYLOAD_BYTES", 10)
    checked(line.with_seq(1, line.encode(Kind.DEBUG, "x" * 20)).decode() + "\n")


# what the commands write; tests/integration has the same with a real control plane


@pytest.mark.parametrize("how", ["live", "failed", "unchanged", "late", "no-wait"])
def test_a_deploy_writes_lines_and_ends_with_its_status(
    plane: Plane,
    project: Path,  # noqa: F811
    cli: Cli,
    how: str,
) -> None:
    """Whatever becomes of it."""
    plane.unchanged = how == "unchanged"
    if how == "failed":
        plane.releases = [BROKEN]
    if how == "late":
        plane.stuck = {"hello"}
    more = {"late": ["--timeout", "0.1"], "no-wait": ["--no-wait"]}.get(how, [])
    ran = cli("deploy", "--json", *more)
    status = checked(ran.out)[-1]
    assert status["kind"] == "status"
    assert status["payload"].get("exit_code", 0) == ran.code


def test_a_deploy_that_does_not_begin_has_its_status(
    plane: Plane, tmp_path: Path, cli: Cli
) -> None:
    """No project, a broken manifest: one line, and the error on stderr."""
    ran = cli("deploy", "--json")
    [status] = checked(ran.out)
    assert (status["payload"]["exit_code"], status["payload"]["error"]["code"]) == (4, "not_found")
    (tmp_path / "koco.yaml").write_text("service: 1\n")
    ran = cli("deploy", "--json", "koco.yaml")
    [status] = checked(ran.out)
    assert (status["payload"]["exit_code"], ran.code) == (2, 2)
    assert json.loads(ran.err)["error"]["code"] == "invalid_manifest"


def test_a_bug_is_an_end_too(
    plane: Plane,
    project: Path,  # noqa: F811
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads the stream is told that it was not cut off."""
    monkeypatch.setattr("koco.cli.planning.make", lambda *_, **__: 1 / 0)
    ran = cli("deploy", "--json")
    [status] = checked(ran.out)
    assert (status["payload"]["exit_code"], ran.code) == (1, 1)
    assert "ZeroDivisionError" in status["payload"]["error"]["message"]


def test_warnings_of_a_deploy_are_on_stderr(
    plane: Plane,
    project: Path,  # noqa: F811
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stdout stays pure."""
    monkeypatch.setattr("koco.cli.planning._LARGE_BYTES", 1)
    ran = cli("deploy", "--json")
    checked(ran.out)
    assert "this ships files above" in ran.err


@pytest.fixture
def interrupted(plane: Plane) -> Callable[..., tuple[int, str, str]]:
    """Run a command as a process, press Ctrl-C once a request has come; return what it did."""

    def run(part: str, *args: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "koco", *args]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, env=os.environ, **pipes) as process:
            plane.wait_for(part)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        return process.returncode, out, err

    return run


def test_ctrl_c_leaves_stdout_pure(
    plane: Plane,
    project: Path,  # noqa: F811
    interrupted: Callable[..., tuple[int, str, str]],
) -> None:
    """A deploy says how it ended; an execution goes on, so its stream has no end."""
    plane.releases = [{"status": "starting"}]
    code, out, err = interrupted("/releases/3", "deploy", "--json")
    assert (code, checked(out)[-1]["payload"]["exit_code"]) == (130, 130)
    assert json.loads(err)["error"]["code"] == "interrupted"
    fid = plane.launch(("status", {"status": "running"}), ("stdout", "hi"))
    code, out, _ = interrupted("/events", "logs", "-f", "--json", fid)
    assert (code, [each["kind"] for each in checked(out)]) == (130, ["status", "stdout"])


def test_events_are_lines_too(plane: Plane, cli: Cli) -> None:
    """Of `run -f` and of `logs`, byte for byte as the API sends them."""
    plane.script = [("stdout", "hi"), ("final", {"any": 1}), ("status", {"status": "finished"})]
    ran = cli("run", "greet", "-f", "--json", "-i", "who=Ada")
    assert [each["kind"] for each in checked(ran.out)] == ["stdout", "final", "status"]
    [events] = plane.events.values()
    assert ran.out.encode() == b"".join(event + b"\n" for event in events)
    assert cli("logs", "-", "--json").out == ran.out


def test_the_doctors_findings_are_lines_too(plane: Plane, cli: Cli) -> None:
    """Whether something failed or not."""
    finding = {"name": "disk", "status": "failed", "message": "full", "hint": None}
    for plane.findings in ([], [finding]):
        ran = cli("doctor", "--json")
        assert ran.out, ran  # says why, where the command itself has failed
        assert checked(ran.out)[-1]["payload"].get("exit_code", 0) == ran.code
