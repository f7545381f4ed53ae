"""What `koco __complete` answers a shell, and that real shells show it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koco.cli import main, shells
from koco.cli.tab import answer, values
from koco.client import context_file
from koco.client.context_file import Context
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


@pytest.fixture
def tab(capfd: pytest.CaptureFixture[str]) -> Any:
    """Return a function that asks for the candidates for the last word."""

    def ask(*words: str) -> dict[str, str]:
        capfd.readouterr()
        assert answer.run(list(words)) == 0
        told = capfd.readouterr()
        assert told.err == ""
        return {line.partition("\t")[0]: line.partition("\t")[2] for line in told.out.splitlines()}

    return ask


def test_offers_commands_and_groups_with_their_help(tab: Any) -> None:
    """All of them, or those that begin as the word does."""
    assert set(tab("")) == {name.partition(" ")[0] for name in main.COMMANDS}
    assert tab("dep") == {"deploy": main.COMMANDS["deploy"]}
    assert tab("context", "u") == {"use": main.COMMANDS["context use"]}
    assert tab("nonsense", "") == {}


def test_offers_options_and_their_choices(tab: Any) -> None:
    """With the first line of their help."""
    assert "--follow" in tab("run", "--")
    assert set(tab("--c")) == {"--context"}
    assert set(tab("completion", "")) == {"bash", "zsh", "fish"}
    assert "awaiting" in tab("ps", "--status", "a")
    assert "awaiting" in tab("ps", "--status", "=", "a"), "as bash splits --status=a"
    assert "hello" in tab("init", "--template", "h")


def test_offers_flows_and_fids_that_exist(
    tab: Any, plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fids come with their flow and status."""
    # The plane's first answer waits for the API's whole document, which holds it to its shapes.
    monkeypatch.setattr(values, "PATIENCE_S", 60)
    (flow,) = tab("run", "")
    assert flow.endswith("greet")
    fid = cli("run", flow, "-i", "who=Ada").out.strip()
    assert flow.rpartition("/")[2] in tab("logs", fid[:3])[fid]
    assert fid in tab("show", "")


def test_offers_contexts(tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their URLs, and never with a key."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path))
    context_file.save_context(Context("staging", "https://s.test", "koco_secret"), True)
    assert tab("context", "use", "") == {"staging": "https://s.test"}
    assert tab("--context", "s") == {"staging": "https://s.test"}


def test_asks_the_shell_for_paths(tab: Any) -> None:
    """Where a file or folder is expected."""
    assert set(tab("backup", "")) == set(tab("validate", "x")) == {":files"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", ""])
def test_is_silent_where_nothing_answers(
    tab: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No control plane, or no valid URL: nothing is offered, nothing is written."""
    monkeypatch.setenv("KOCO_URL", url)
    monkeypatch.setenv("KOCO_HOME", str(tmp_path))
    assert tab("run", "") == {}


#: Shell -> a program that prints what it would offer for `koco dep` and `koco context u`.
_ASKING = {
    "bash": """
COMP_WORDS=(koco context u) COMP_CWORD=2; _koco; echo "${COMPREPLY[*]}"
COMP_WORDS=(koco dep) COMP_CWORD=1; _koco; echo "${COMPREPLY[*]}"
""",
    "zsh": """
compadd() { echo "${values[*]}"; }
words=(koco context u) CURRENT=3; _koco
words=(koco dep) CURRENT=2; _koco
""",
    "fish": """
complete -C 'koco context u' | string split -f1 \\t
complete -C 'koco dep' | string split -f1 \\t
""",
}


@pytest.mark.parametrize("shell", list(shells.SCRIPTS))
def test_a_real_shell_completes(shell: str, tmp_path: Path) -> None:
    """The script loads without a word, and offers what koco answers."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "koco"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m koco "$@"\n')
    command.chmod(0o755)
    begin = "compdef() { :; }\n" if shell == "zsh" else ""
    done = subprocess.run(
        [program, "-c", begin + shells.SCRIPTS[shell] + _ASKING[shell]],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["use", "deploy"], "")


def test_prints_the_script(cli: Cli) -> None:
    """On stdout, to be evaluated."""
    for shell, script in shells.SCRIPTS.items():
        assert cli("completion", shell).out == script
    assert cli("completion", "csh").code == 2


def test_a_tab_is_quick(plane: Plane) -> None:
    """Neither httpx nor pydantic is imported, even for values from the control plane."""
    code = (
        "import sys; from koco.cli.tab import answer, values; answer.run(['logs', '']);"
        "print(*({'httpx', 'pydantic', 'rich', 'ray'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"
