"""How fast the command line starts, and what it leaves alone for that."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"ray", "litestar", "fastapi", "uvicorn", "pydantic", "msgspec", "rich", "re2"}

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
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
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


def test_the_probe_sees_what_is_loaded(env: dict[str, str]) -> None:
    """The test above can fail: it does see httpx, which a request takes."""
    modules, stdout = loaded(env, "logs")
    assert "httpx" in modules
    assert stdout == "hi\n"
    assert "click" not in modules  # httpx's own command line


def test_version_needs_not_even_typer(env: dict[str, str]) -> None:
    """It is asked for by scripts and prompts, all the time."""
    modules, stdout = loaded(env, "--version")
    assert "typer" not in modules
    assert stdout.startswith("koco 0.")
