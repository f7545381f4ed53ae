"""A process whose bundle comes after its start."""

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from koco.sdk.process import late_bundle
from koco.sdk.process.stacks import BUNDLE_MARK
from tests.support.http_server import QuietServer


class Site(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(type(self).content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Unpack a placeholder as Ray does, and serve it."""
    server = QuietServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/a.zip"
    Site.content = late_bundle.placeholder(BUNDLE_MARK, url)
    with zipfile.ZipFile(io.BytesIO(Site.content)) as archive:
        archive.extractall(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    server.shutdown()
    server.server_close()


def bundle() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(BUNDLE_MARK, "{}")
        archive.writestr("late_module_of_a_test.py", "VALUE = 1\n")
    return buffer.getvalue()


def test_it_fills_its_folder_once_there_is_a_bundle(folder: Path) -> None:
    """Until then, nothing changes. Its modules can be imported at once."""
    assert (folder / BUNDLE_MARK).exists()
    assert late_bundle.fetch() is False
    with pytest.raises(ModuleNotFoundError):
        import late_module_of_a_test  # type: ignore[import-not-found]
    Site.content = bundle()
    assert late_bundle.fetch() is True
    import late_module_of_a_test

    assert late_module_of_a_test.VALUE == 1
    Site.content = b"nobody asks again"
    assert late_bundle.fetch() is True


def test_processes_of_a_node_fill_it_together(folder: Path) -> None:
    """One of them does, the others wait for it."""
    Site.content = bundle()
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(late_bundle.fetch())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert done == [True] * 8


def test_a_process_with_its_bundle_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no mark."""
    (tmp_path / BUNDLE_MARK).write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert late_bundle.fetch() is True
