"""The contract of streams: the schema, its documentation, and the output of commands."""

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
from tests.support.checkout import ROOT
from tests.support.memory_plane import Plane
from tests.unit.cli.commands.test_deploy import BROKEN, project  # noqa: F401 - a fixture
from tests.unit.conftest import Cli

SCHEMA = schema.json_schema()
VALID = jsonschema.Draft202012Validator(SCHEMA)
PAGE = (ROOT / "docs/stream.md").read_text()


def checked(out: str) -> list[dict[str, Any]]:
    """Return the lines of a stream; each is JSON, of a kind that is known, as the schema says."""
    assert out.endswith("\n") or not out
    lines = [json.loads(each) for each in out.splitlines()]
    for each in lines:
        VALID.validate(each)
        assert each["kind"] in (schema.EVENTS if "seq" in each else schema.STEPS)
    return lines


def test_the_schema_is_valid_and_versioned() -> None:
    """Draft 2020-12. The contract's version is in its `$id`."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "urn:koco:schema:stream:1"
    assert f"`{SCHEMA['$id']}`" in PAGE


def test_koco_schema_prints_the_schema(cli: Cli) -> None:
    """Prints the manifest's schema if no name is given."""
    assert json.loads(cli("schema", "stream").out) == SCHEMA
    assert json.loads(cli("schema").out)["$id"] == "urn:koco:schema:manifest:1"
    assert cli("schema", "nonsense").code == 2


def test_every_kind_is_documented() -> None:
    """Another test checks the rows of events in events.md."""
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
def test_refuses_invalid_lines(wrong: dict[str, Any]) -> None:
    """The schema is not empty."""
    assert not VALID.is_valid(wrong)


def test_accepts_unknown_kinds_and_keys() -> None:
    """Additions are compatible."""
    ts = "2026-01-31T12:00:00.000000Z"
    more = {"ts": ts, "kind": "status", "payload": {"status": "finished", "more": 1}, "also": 2}
    for each in (more, {"ts": ts, "kind": "new", "payload": None}):
        VALID.validate(each)


def test_accepts_truncated_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every kind."""
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
    """If it succeeds and if it fails."""
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


def test_a_deploy_that_cannot_start_writes_its_status(
    plane: Plane, tmp_path: Path, cli: Cli
) -> None:
    """No project, or a broken manifest: one line, and the error on stderr."""
    ran = cli("deploy", "--json")
    [status] = checked(ran.out)
    assert (status["payload"]["exit_code"], status["payload"]["error"]["code"]) == (4, "not_found")
    (tmp_path / "koco.yaml").write_text("service: 1\n")
    ran = cli("deploy", "--json", "koco.yaml")
    [status] = checked(ran.out)
    assert (status["payload"]["exit_code"], ran.code) == (2, 2)
    assert json.loads(ran.err)["error"]["code"] == "invalid_manifest"


def test_a_bug_ends_the_stream_with_a_status(
    plane: Plane,
    project: Path,  # noqa: F811
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a reader can tell it from a stream that was cut off."""
    monkeypatch.setattr("koco.cli.deploy.plan.make", lambda *_, **__: 1 / 0)
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
    """Stdout has only the stream."""
    monkeypatch.setattr("koco.cli.deploy.plan._LARGE_BYTES", 1)
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
            out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    return run


def test_ctrl_c_leaves_stdout_pure(
    plane: Plane,
    project: Path,  # noqa: F811
    interrupted: Callable[..., tuple[int, str, str]],
) -> None:
    """A deploy writes its status. An execution continues, so its stream has no end."""
    plane.releases = [{"status": "starting"}]
    code, out, err = interrupted("/releases/3", "deploy", "--json")
    assert (code, checked(out)[-1]["payload"]["exit_code"]) == (130, 130)
    assert json.loads(err)["error"]["code"] == "interrupted"
    fid = plane.launch(("status", {"status": "running"}), ("stdout", "hi"))
    code, out, _ = interrupted("/events", "logs", "-f", "--json", fid)
    assert (code, [each["kind"] for each in checked(out)]) == (130, ["status", "stdout"])


def test_event_streams_match_the_api(plane: Plane, cli: Cli) -> None:
    """`run -f` and `logs` write the lines byte for byte as the API sends them."""
    plane.script = [("stdout", "hi"), ("final", {"any": 1}), ("status", {"status": "finished"})]
    ran = cli("run", "greet", "-f", "--json", "-i", "who=Ada")
    assert [each["kind"] for each in checked(ran.out)] == ["stdout", "final", "status"]
    [events] = plane.events.values()
    assert ran.out.encode() == b"".join(event + b"\n" for event in events)
    assert cli("logs", "-", "--json").out == ran.out


def test_doctor_writes_lines(plane: Plane, cli: Cli) -> None:
    """If a check fails and if none does."""
    finding = {"name": "disk", "status": "failed", "message": "full", "hint": None}
    for plane.findings in ([], [finding]):
        ran = cli("doctor", "--json")
        assert ran.out, ran  # says why, where the command itself has failed
        assert checked(ran.out)[-1]["payload"].get("exit_code", 0) == ran.code
