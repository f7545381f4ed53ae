"""What `koco __complete` answers a shell, and that real shells show it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.cli import main, shells
from koco.cli.tab import answer, table, values
from koco.client import context_file
from koco.client.context_file import Context
from tests.support import command_table, whole_api
from tests.support.api_server import Api, serving
from tests.support.memory_plane import KEY, Plane
from tests.support.typist import Typist
from tests.unit.cli.commands.test_releases import release
from tests.unit.conftest import Cli, Use


@pytest.fixture
def tab(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that asks for the candidates for the last word."""
    # A plane's first answer waits for the API's whole document, which holds it to its shapes.
    monkeypatch.setattr(values, "PATIENCE_S", 60)

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


def test_offers_flows_and_fids_that_exist(tab: Any, plane: Plane, cli: Cli) -> None:
    """Fids come with their flow and status."""
    (flow,) = tab("run", "")
    assert flow.endswith("greet")
    fid = cli("run", flow, "-i", "who=Ada").out.strip()
    assert flow.rpartition("/")[2] in tab("logs", fid[:3])[fid]
    assert fid in tab("show", "")


@pytest.mark.parametrize(
    "name", ["a;touch${IFS}x;#", "$(id)", "`id`", "a b", "~root", "a\tb", "a&b", "a|b"]
)
def test_offers_nothing_that_a_shell_would_run(tab: Any, plane: Plane, name: str) -> None:
    """bash puts a candidate into the line as it is, and a control plane may be anybody's."""
    plane.flows["odd"] = {**plane.flows["greet"], "name": name, "short": name}
    assert name not in tab("run", "")
    assert "hello/greet" in tab("run", "")


def test_offers_what_a_service_has(tab: Any, plane: Plane) -> None:
    """Its name, its releases and secrets; names of keys and users."""
    plane.services = [{"service": "hello", "release": 2, "status": "live"}]
    plane.history = [release(2, status="live"), release(1)]
    plane.secrets["OPENAI_API_KEY"] = "x"
    plane.key(name="ci", scopes=["deploy"], flows=[])
    assert set(tab("undeploy", "")) == set(tab("ps", "--service", "h")) == {"hello"}
    assert tab("rollback", "hello", "") == {"2": "live", "1": "retired"}
    assert set(tab("secret", "unset", "OPEN")) == {"OPENAI_API_KEY"}
    assert set(tab("key", "revoke", "")) == {"ci"}
    assert set(tab("key", "create", "x", "--scope", "d")) == {"deploy"}


def test_offers_open_locks(tab: Any, plane: Plane) -> None:
    """Of the execution that is named before."""
    fid = plane.launch(("status", {"status": "running"}))
    plane.lock(fid, "approval")
    assert set(tab("answer", fid, "")) == {"approval"}


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    """Serve the real API, with a schedule."""
    flow = {"name": "flow", "entrypoint": "m:f"}
    schedule = [{"flow": "flow", "cron": "0 6 * * *"}]
    with serving(tmp_path / "data") as api:
        given = {"service": "svc", "flows": [flow], "schedule": schedule}
        api.call(whole_api.complete(api, given=given))
        api.call(api.parts.schedules.refresh(time.time()))
        api.admit("dora", "deploy", "launch")
        use(api.url, "dora")
        yield api


def test_asks_the_real_api(tab: Any, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules come by their ids and by their flows. A wrong key gets nothing."""
    found = tab("schedule", "pause", "")
    assert next(iter(found)) == "svc/flow"
    assert list(found.values()) == ["all of its schedules", "svc/flow 0 6 * * *"]
    assert set(tab("run", "")) == {"svc/flow"}
    monkeypatch.setenv("KOCO_KEY", "wrong")
    assert tab("run", "") == {}


def test_offers_environments(tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the project's koco.toml."""
    monkeypatch.chdir(tmp_path)
    assert tab("deploy", "--env", "") == {}
    (tmp_path / "koco.toml").write_text("[env.staging]\n[env.production]\n")
    assert set(tab("deploy", "--env", "")) == set(tab("--env", "")) == {"staging", "production"}


def test_an_environment_chooses_the_control_plane(
    tab: Any, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the option comes after the command, and `--context` before it."""
    monkeypatch.delenv("KOCO_URL")
    monkeypatch.delenv("KOCO_KEY")
    context_file.save_context(Context("here", plane.url, KEY), False)
    (tmp_path / "koco.toml").write_text('[env.staging]\ncontext = "here"\n')
    assert tab("undeploy", "--env", "staging", "") == tab("run", "") == {}
    plane.services = [{"service": "hello", "release": 2, "status": "live"}]
    assert set(tab("deploy", "--env", "staging", "--")) > {"--yes"}
    assert set(tab("--context", "here", "undeploy", "")) == {"hello"}
    assert set(tab("--env", "staging", "undeploy", "")) == {"hello"}


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
    _command(tmp_path, f'exec {sys.executable} -m koco "$@"')
    begin = "compdef() { :; }\n" if shell == "zsh" else ""
    done = subprocess.run(
        [program, "-c", begin + shells.SCRIPTS[shell] + _ASKING[shell]],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["use", "deploy"], "")


#: Shell -> how it is started without anybody's settings, and what makes it load `script`.
_STARTED = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}


@pytest.mark.parametrize("shell", list(shells.SCRIPTS))
def test_a_tab_completes_what_is_typed(shell: str, tmp_path: Path) -> None:
    """At a terminal, in the shell itself: the words that Tab puts there are run."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    koco = f'exec "{sys.executable}" -m koco "$@"'
    _command(tmp_path, f'case $1 in __complete) {koco};; *) echo "ran: $*";; esac')
    (tmp_path / "script").write_text(shells.SCRIPTS[shell])
    start = f"import os; os.execv({program!r}, {[program, *_STARTED[shell]]!r})"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}
    with Typist(["-c", start], env=env, cwd=tmp_path) as person:
        person.presses(f"source {tmp_path}/script; echo load''ed\n")
        person.sees("loaded")
        person.presses("koco vali\t\n")
        person.sees("ran: validate")
        person.presses("koco context u\tprod\n")
        person.sees("ran: context use prod")
        person.presses("exit\n")
        person.leaves()


def _command(folder: Path, text: str) -> None:
    """Write a `koco` into a folder."""
    path = folder / "koco"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_prints_the_script(cli: Cli) -> None:
    """On stdout, to be evaluated."""
    for shell, script in shells.SCRIPTS.items():
        assert cli("completion", shell).out == script
    assert cli("completion", "csh").code == 2


def test_the_table_has_all_commands() -> None:
    """As they are now. `python -m tests.support.command_table` writes it anew."""
    assert Path(table.PATH).read_text("utf-8") == command_table.text()


@pytest.mark.parametrize("words", [["de"], ["run", "--"], ["logs", ""], ["init", "--template", ""]])
def test_a_tab_imports_little(words: list[str], plane: Plane) -> None:
    """No typer and no command, and for values from the control plane no HTTP client."""
    names = {"typer", "httpx", "http.client", "pydantic", "msgspec", "rich", "koco.client.client"}
    code = (
        f"import sys; from koco.cli.tab import answer; answer.run({words!r});"
        f"print(*({names!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"
