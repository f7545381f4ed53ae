"""`--env` and KOCO_ENV: which control plane, which manifest, and that a plan says so."""

import json
from pathlib import Path

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from tests.support.memory_plane import KEY, Plane
from tests.unit.conftest import Cli

TOML = """
[project]
name = "p"
[env.staging]
context = "staging"
manifest.runner.max = 2
[env.production]
manifest.runtime.env.TOKEN = "${TOKEN}"
"""


@pytest.fixture
def here(plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plane:
    (tmp_path / "koco.toml").write_text(TOML)
    (tmp_path / "koco.yaml").write_text(
        "service: hello\nflows:\n  - {name: greet, entrypoint: 'app:greet'}\n"
    )
    (tmp_path / "app.py").write_text("def greet(): ...\n")
    context_file.save_context(Context("staging", plane.url, KEY))
    context_file.save_context(Context("other", "http://127.0.0.1:9", KEY))
    monkeypatch.delenv("KOCO_URL")
    monkeypatch.delenv("KOCO_KEY")
    monkeypatch.setenv("KOCO_RESTART_WAIT", "0")
    return plane


def test_a_plan_names_its_environment(here: Plane, cli: Cli) -> None:
    """And is about its control plane and its manifest."""
    ran = cli("plan", "--env", "staging")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == f"environment staging, at {here.url}"
    [sent] = [data for _, path, data in here.requests if path == "/v1/plan"]
    assert sent["services"][0]["manifest"]["runner"] == {"max": 2}
    assert json.loads(cli("plan", "--env", "staging", "--json").out)["environment"] == "staging"


@pytest.mark.parametrize("args", [("--env", "staging", "status"), ("status",)])
def test_it_chooses_the_context_of_any_command(
    here: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """As an option of koco or as KOCO_ENV. `--context` and KOCO_URL come first."""
    if len(args) == 1:
        monkeypatch.setenv("KOCO_ENV", "staging")
    else:
        monkeypatch.setenv("KOCO_CONTEXT", "other")
    assert cli(*args).code == 0
    assert cli("--context", "other", *args).code == 3
    monkeypatch.setenv("KOCO_URL", "http://127.0.0.1:9")
    assert cli(*args).code == 3


@pytest.mark.parametrize("command", ["plan", "deploy", "validate"])
def test_a_wrong_name_lists_those_that_exist(here: Plane, cli: Cli, command: str) -> None:
    """Nothing is sent."""
    ran = cli(command, "--env", "stagin")
    assert ran.code == 4
    assert "did you mean 'staging'?" in ran.err
    assert "staging, production" in ran.err
    assert here.requests == []
    assert cli("--env", "stagin", "status").code == 4


def test_a_file_has_variables_that_are_not_shown(
    here: Plane, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent as they are, shown as stars; without the file, the variable is missing."""
    monkeypatch.setenv("KOCO_CONTEXT", "staging")
    assert "${TOKEN}" in cli("plan", "--env", "production").err
    (tmp_path / "my.env").write_text("TOKEN=sesame-open\n")
    change = {"path": "runtime.env.TOKEN", "old": "sesame-old", "new": "sesame-open"}
    here.steps["hello"] = {"action": "update", "release": 1, "changes": [change]}
    for more in ((), ("--json",)):
        ran = cli("plan", "--env", "production", "--env-file", "my.env", *more)
        assert ran.code == 0, ran.err
        assert "********" in ran.out
        assert "sesame" not in ran.out + ran.err
    sent = [data for _, path, data in here.requests if path == "/v1/plan"][-1]
    assert sent["services"][0]["manifest"]["runtime"]["env"] == {"TOKEN": "sesame-open"}
    assert "my.env" not in json.dumps(sent["services"][0]["files"])
    here.releases = [{"status": "live"}]
    assert cli("deploy", "--env", "production", "--env-file", "my.env").code == 0
    [begun] = [data for _, path, data in here.requests if path == "/v1/services/hello/releases"]
    assert begun["origin"]["hidden_env"] == ["TOKEN"]  # so that later plans hide it
