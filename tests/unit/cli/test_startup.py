"""How fast the command line starts, and which modules it does not import."""

import ast
import json
import os
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco.cli import main
from tests.support.checkout import ROOT
from tests.support.http_server import QuietServer

HEAVY = {"ray", "litestar", "fastapi", "uvicorn", "pydantic", "msgspec", "rich", "re2", "textual"}
HEAVY |= {"httpx", "http", "email", "ssl"}  # plain HTTP takes a socket
#: What reads command lines that are wrong, and help; and what costs as much as a third of Python.
PARSERS = {"typer", "argparse", "inspect", "dataclasses", "hashlib", "threading"}

#: Runs the command line as `koco` does, then says on stderr what it has imported.
PROBE = (
    "import sys; from koco.__main__ import main; sys.argv[1:] = {args!r}\n"
    "code = main()\n"
    "names = sorted(name for name in sys.modules if '.' not in name)\n"
    "print('CODE', code, 'LOADED', *names, file=sys.stderr)"
)


EXECUTION = {
    **{"fid": "x", "flow": "a/b", "release": 1, "status": "running", "inputs": {}, "user": "a"},
    **{"tags": [], "created": "2026-01-01T00:00:00Z", "started": None, "finished": None},
    **{"last_seq": 1, "error": None},
}


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({**EXECUTION, "items": [], "next": None}).encode()
        if "/events" in self.path:
            body = (
                b'{"seq":1,"ts":"2026-01-01T00:00:00.000000Z","kind":"stdout","payload":"hi"}\n'
                b'{"seq":2,"ts":"2026-01-01T00:00:00.000000Z","kind":"status",'
                b'"payload":{"status":"finished"}}\n'
            )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def env(tmp_path: Path) -> Any:
    server = QuietServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield {**os.environ, "KOCO_URL": url, "KOCO_KEY": "k", "KOCO_HOME": str(tmp_path)}
    server.shutdown()
    server.server_close()


def loaded(env: dict[str, str], *args: str) -> tuple[set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(args=list(args))],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, modules = done.stderr.rpartition("CODE ")[2].partition(" LOADED ")
    assert said == "0", done.stderr
    return set(modules.split()), done.stdout


@pytest.mark.parametrize(
    "args", [["--help"], ["ps"], ["logs"], ["logs", "-f"], ["ps", "--json"], ["files", "ls", "x"]]
)
def test_heavy_packages_are_left_alone(env: dict[str, str], args: list[str]) -> None:
    """Neither help nor a request needs Ray, a web framework, checks or (piped) rich."""
    modules, _ = loaded(env, *args)
    assert modules & HEAVY == set()


@pytest.mark.parametrize("args", [["ps"], ["logs", "-f"], ["--context", "x", "ps", "--limit", "3"]])
def test_a_line_that_is_right_takes_no_other_parser(env: dict[str, str], args: list[str]) -> None:
    """Only help and errors take typer."""
    path = Path(env["KOCO_HOME"], "contexts.toml")
    path.touch(0o600)
    path.write_text(f'[contexts.x]\nurl = "{env["KOCO_URL"]}"\nkey = "k"\n')
    modules, _ = loaded(env, *args)
    assert modules & PARSERS == set()
    assert "typer" in loaded(env, "ps", "--help")[0]


def test_the_probe_finds_loaded_modules(env: dict[str, str]) -> None:
    """The test above can fail: it does see what a request takes."""
    modules, stdout = loaded(env, "logs")
    assert "socket" in modules
    assert stdout == "hi\n"


def test_version_needs_not_even_typer(env: dict[str, str]) -> None:
    """Scripts and prompts call it all the time."""
    modules, stdout = loaded(env, "--version")
    assert "typer" not in modules
    assert stdout.startswith("koco 0.")


@pytest.mark.parametrize("args", [["--help"], ["key", "--help"], ["help", "files"]])
def test_help_imports_no_command(env: dict[str, str], args: list[str]) -> None:
    """Lists of commands come from the table in `main`, which has each one's first line."""
    code = PROBE.replace("if '.' not in name", "if name.startswith('koco.cli.commands.')")
    done = subprocess.run(
        [sys.executable, "-c", code.format(args=args)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: koco" in done.stdout
    assert done.stderr == "CODE 0 LOADED\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_table_has_the_first_line_of_each_docstring(name: str) -> None:
    """So each line is maintained in two places, and this test compares them."""
    command = main.build()
    for word in name.split():
        command = command.get_command(None, word)
    assert command.help.partition("\n")[0] == main.COMMANDS[name]
    assert len(f"  validate  {main.COMMANDS[name]}") <= 80, "it fits a line of a terminal"


#: Packages that no module of the command line may import at its top, so no reason is needed.
BANNED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"][
    "flake8-tidy-imports"
]["banned-module-level-imports"]


@pytest.mark.parametrize("folder", ["koco/cli", "koco/client"])
def test_an_import_in_a_function_has_a_reason(folder: str) -> None:
    """A comment on its line, or above it: everything else is imported at the top."""
    bare = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / folder).rglob("*.py")
        for line in _unexplained(path.read_text())
    ]
    assert bare == []


def _unexplained(source: str) -> list[int]:
    """Return the lines of a module's imports in functions that have no comment."""
    lines, found = source.splitlines(), []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        explained = 0
        for node in ast.walk(function):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            module = getattr(node, "module", None) or node.names[0].name
            above = node.lineno - 2
            while not lines[above].strip():
                above -= 1
            if "#" in lines[node.lineno - 1] or lines[above].lstrip().startswith("#"):
                explained = node.lineno
            elif above + 1 != explained and module.partition(".")[0] not in BANNED:
                found.append(node.lineno)
            else:
                explained = node.lineno  # the next line of the same block
    return found
