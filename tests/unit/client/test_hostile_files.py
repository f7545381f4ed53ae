"""Attacks by a hostile control plane: its file names must not lead anywhere else."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.http_server import QuietServer
from tests.unit.conftest import Cli

CONTENT = b"evil"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


EXECUTION = {
    **{"fid": "f1", "flow": "svc/flow", "release": 1, "user": "admin", "inputs": {}},
    **{"status": "finished", "last_seq": 2, "tags": [], "error": None},
    **dict.fromkeys(("created", "started", "finished"), "2026-01-01T00:00:00Z"),
}


class _Hostile(BaseHTTPRequestHandler):
    """Lists a file of any name wherever it is asked, and gives it."""

    name = ""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if "/files/" in self.path:
            self._answer(CONTENT)
        elif "/files" in self.path:
            file = {"path": self.name, "sha256": SHA256, "size_bytes": len(CONTENT)}
            items = [{**file, "created": "2026-01-01T00:00:00Z", "by": ""}]
            self._answer(json.dumps({"items": items, "next": None}).encode())
        else:
            self._answer(json.dumps(EXECUTION).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hostile]]:
    handler = type("Handler", (_Hostile,), {})
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KOCO_HOME", str(home))
    monkeypatch.setenv("KOCO_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KOCO_KEY", "koco_test")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield handler
    server.shutdown()
    server.server_close()


def files(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../evil",
            "/tmp/evil",
            "out/../../evil",
            "out/..\\..\\evil",
            "out/%2e%2e/evil",
            "~/evil",
        ),
        *("out/\0evil", "out/\x1b[2Jevil", "C:\\evil", "\\\\host\\share", "out/", "out", ""),
        *(
            "out/\uff0e\uff0e/evil",
            "out//evil",
            "out/./evil",
            "in/evil",
            "out/.bashrc",
            "out/b.csv/c",
        ),
    ],
)
def test_never_writes_outside_of_the_target(
    hostile: type[_Hostile], cli: Cli, tmp_path: Path, name: str
) -> None:
    """A file with another name than requested is not written, such as `.bashrc`."""
    hostile.name = name
    ran = cli("files", "get", "f1", "out/a.csv", "--to", ".", "--force")
    assert ran.code != 0
    assert "unexpected" not in ran.err
    assert files(tmp_path / "here") == []


def test_downloads_the_requested_file(hostile: type[_Hostile], cli: Cli, tmp_path: Path) -> None:
    """So that the others are refused because of their names."""
    hostile.name = "out/a.csv"
    assert cli("files", "get", "f1", "out/a.csv").code == 0
    assert files(tmp_path / "here") == ["a.csv"]


def test_an_existing_link_does_not_redirect_a_download(
    hostile: type[_Hostile], cli: Cli, tmp_path: Path
) -> None:
    """Neither one in place of a folder nor one in place of the file."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "out").symlink_to(tmp_path / "elsewhere")
    hostile.name = "out/a.csv"
    assert cli("files", "get", "f1", "out", "--force").code == 2
    assert files(tmp_path / "elsewhere") == []
    target = tmp_path / "elsewhere" / "target"
    (tmp_path / "here" / "a.csv").symlink_to(target)
    assert cli("files", "get", "f1", "out/a.csv", "--force").code == 0
    assert not target.exists()
