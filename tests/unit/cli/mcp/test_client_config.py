"""`koco mcp --print-config`: an agent that starts koco has nothing of the shell that printed it."""

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from tests.unit.conftest import Cli


@pytest.fixture(autouse=True)
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    for name in ("KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT", "KOCO_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("prod", "local"):
        context_file.save_context(Context(name, f"http://{name}.example.com", "koco_x"))


@pytest.mark.parametrize("name", ["claude-code", "claude-desktop", "codex", "vscode", "zed"])
def test_prints_the_configuration_of_clients(cli: Cli, tmp_path: Path, name: str) -> None:
    """With whole paths, the context and the options; where it belongs goes to stderr."""
    ran = cli("--context", "prod", "mcp", "--operate", "--print-config", name)
    assert ran.code == 0, ran.err
    assert "this" in ran.err
    home = str(tmp_path / "home")
    if name == "claude-code":
        words = shlex.split(ran.out)
        assert words[:6] == ["claude", "mcp", "add", "koco", "--env", f"KOCO_HOME={home}"]
        command, arguments = words[7], words[8:]
    else:
        found = tomllib.loads(ran.out) if name == "codex" else json.loads(ran.out)
        [servers] = found.values()
        about = servers["koco"]
        command, arguments = about["command"], about["args"]
        assert about["env"] == {"KOCO_HOME": home}
    assert Path(command).is_absolute()
    plain = ["--plain-names"] if name in ("claude-desktop", "codex") else []
    assert arguments[-4 - len(plain) :] == ["--context", "prod", "mcp", *plain, "--operate"]


def _arguments(cli: Cli) -> list[str]:
    ran = cli("mcp", "--print-config", "gemini")
    assert ran.code == 0, ran.err
    found: list[str] = json.loads(ran.out)["mcpServers"]["koco"]["args"]
    return found


def test_names_the_context_that_the_shell_or_the_project_selects(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the agent would talk to another one. What `koco context use` has chosen may change."""
    assert _arguments(cli)[-1:] == ["mcp"]
    assert "--context" not in _arguments(cli)
    (tmp_path / "koco.toml").write_text('[deploy]\ncontext = "local"\n')
    assert _arguments(cli)[-3:] == ["--context", "local", "mcp"]
    monkeypatch.setenv("KOCO_CONTEXT", "prod")
    assert _arguments(cli)[-3:] == ["--context", "prod", "mcp"]


def test_says_what_an_agent_will_not_see(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """KOCO_URL and KOCO_KEY of the shell, and a context that there is not."""
    monkeypatch.setenv("KOCO_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KOCO_KEY", "koco_secret")
    ran = cli("mcp", "--print-config", "cursor")
    assert "does not see KOCO_URL and KOCO_KEY" in ran.err
    assert "koco_secret" not in ran.out + ran.err
    assert cli("--context", "nowhere", "mcp", "--print-config", "cursor").code == 4
    monkeypatch.delenv("KOCO_URL")
    monkeypatch.delenv("KOCO_KEY")
    context_file.contexts_path().unlink()
    ran = cli("mcp", "--print-config", "cursor")
    assert (ran.code, "no control plane is known here" in ran.err) == (0, True)
