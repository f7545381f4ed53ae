"""Paths of executions' files: one spelling each, and no spelling of any other place."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco import file_paths
from koco.errors import PathError
from koco.store.model import FileLimits, NewExecution, NewFile
from koco.store.store import Store
from tests.support.api_server import Api, serving

#: What stands for "up one folder" in one system or another, mostly in vain.
UP = [
    "..", "...", "....", ". .", ".. ", " ..", "..  .", ".", " ", "%2e%2e", "%2E%2E", ".%2e", "%2e.",
    "%252e%252e", "%25252e%25252e", "%2e%2e%2f", "..%2f", "..%5c", "%2e%2e%5c", "..;/..", "..%00",
    "..\x00", "\uff0e\uff0e", "\u2024\uff0e", "\u2024\u2024", "\ufe52\ufe52",
    "%c0%ae%c0%ae", "%c0%2e", "%e0%80%ae", "..%c0%af", "..\uff0f..",
    "..\\", "..\\..", "\\..", "..%255c", "..%252f", "%2f", "%5c", "..\u2028", "..\n", "..\r",
    "..\t", "..\x7f", "..\x85", "\u202e..", "a/../..", "a/../../..", "./..", "a/./..", "a/.", "",
    "/", "//",
]  # fmt: skip

#: Every place that must not be reached, spelt from the root, from in/ and from out/.
REFUSED = sorted(
    {
        *(f"in/{up}/etc/passwd" for up in UP if up != "..;/.."),
        *(f"out/a/{up}/store.db" for up in UP if up != "..;/.."),
        *("in/..;/../x", "in/..", "in/../..", "out/..", "in/../out", "in/./a", "in/a/..", "in/a/."),
        *("/etc/passwd", "//etc/passwd", "/in/a", "//in/a", "etc/passwd", "..", ".", "", "/", "~"),
        *("../in/a", "./in/a", "in", "out", "in/", "out/", "in//", "in//a", "in/a//b", "in/a/"),
        *("In/a", "IN/a", "OUT/a", "inn/a", "in:a", "in\\a", "in\\..\\..\\a", "in/a\\b", "out\\a"),
        *("C:\\a", "C:/a", "file:///etc/passwd", "http://x/in/a", "\\\\host\\share", "in%2fa"),
        *("%69n/a", "in%2f..%2fa", "%2fetc%2fpasswd", "in /a", " in/a", "\tin/a", "in\x00/a"),
        *("in/a\x00", "in/a\x00.txt", "in/\x00", "in/a%00.txt", "in/a%2fb", "in/a%5cb", "in/%2f"),
        *("in/a\n", "in/a\rb", "in/\x1b[2J", "in/\x7f", "in/\x9b", "in/a\u2028b", "in/a\u202eb"),
        *("in/\ud800", "in/\udfff.txt", "in/a\udc80", "\ud800/a", "in/\u2100", "in/a\uff0fb"),
        *("in/" + "a" * 256, "in/" + "ä" * 128, "in/" + "a/" * 512 + "a", "in/" + "a" * 5000),
    }
)

ACCEPTED = [
    *("in/a", "out/a", "in/a/b/c", "in/in/out", "in/.hidden", "in/a.b..c", "in/..a", "in/a.."),
    *("in/a ", "in/ a", "in/100%.txt", "in/50%25.txt", "in/a;b", "in/a?b", "in/a#b", "in/a&b=c"),
    *("in/a+b", "in/日本語.txt", "in/é.txt", "in/😀", "in/a:b", "in/CON", "in/~", "in/$HOME"),
    *("in/-rf", "in/*"),
    *("in/" + "a" * 255, "in/" + "/".join(["a" * 100] * 10)),
]  # fmt: skip


def test_the_corpus_is_large_enough() -> None:
    """At least a hundred spellings, each another one."""
    assert len(REFUSED) >= 150


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_no_spelling_of_another_place_is_a_path(text: str) -> None:
    """It is refused with what is wrong, and as a ValueError where a flow asked."""
    with pytest.raises(PathError) as raised:
        file_paths.path(text)
    assert raised.value.message
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("text", ACCEPTED, ids=ascii)
def test_ordinary_and_odd_names_are_paths(text: str) -> None:
    """What Linux takes as a name is taken, but for what reads as a path elsewhere."""
    assert file_paths.path(text) == text


def test_two_spellings_of_a_letter_are_one_path() -> None:
    """macOS decomposes what others compose."""
    assert file_paths.path("in/e\u0301.txt") == "in/\u00e9.txt"


def test_a_folder_may_end_in_a_slash_and_the_roots_are_folders() -> None:
    """As people type them."""
    assert file_paths.place("in/") == "in"
    assert file_paths.place("out") == "out"
    assert file_paths.place("in/a/") == file_paths.place("in/a") == "in/a"
    with pytest.raises(PathError):
        file_paths.place("in/a//")


@given(st.text(max_size=40), st.sampled_from(["", "in/", "out/", "in/a/"]))
def test_what_is_accepted_stays_where_it_says(text: str, before: str) -> None:
    """Joined to any folder, an accepted path stays below it, in every reading of its dots."""
    try:
        found = file_paths.path(before + text)
    except PathError:
        return
    assert file_paths.path(found) == found
    base = Path("/srv/root")
    assert os.path.normpath(base / found) == str(base / found)
    assert found.split("/")[0] in file_paths.ROOTS


def test_nothing_of_the_corpus_reaches_the_disk(tmp_path: Path) -> None:
    """The storage layer: even unchecked, a path is text in a row; no file is named by it."""

    async def main() -> list[str]:
        store = Store.at(tmp_path / "data" / "store.db")
        await store.open()
        new = NewExecution(flow="s/f", service="s", release=1, inputs={})
        execution, _ = await store.executions.create(new)
        await store.uploads.add("u", "0" * 64, 1)
        for text in REFUSED:
            if any("\ud800" <= each <= "\udfff" for each in text) or not text.strip("/"):
                continue  # what SQLite itself does not take as text
            file = NewFile(path=f"x/{text.replace('/', '|')}", sha256="0" * 64, size_bytes=1)
            await store.files.attach(
                execution.fid, file, by="u", uploader="u", limits=FileLimits(max_count=10_000)
            )
        kept = [file.path for file in await store.files.all_of(execution.id)]
        await store.close()
        return kept

    assert len(asyncio.run(main())) > 100
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found <= {f"data/store.{end}" for end in ("db", "lock", "db-wal", "db-shm")}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("plane")) as api:
        yield api


def raw(
    place: str, method: str, target: bytes, body: bytes = b"", *, key: str = "ada"
) -> tuple[int, bytes]:
    """Send a request as it stands: no client's library makes its target prettier."""
    url = urlsplit(place)
    head = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += b"Authorization: Bearer %b\r\n" % key.encode()
    with socket.create_connection((url.hostname, url.port), timeout=10) as wire:
        wire.sendall(
            head % (method.encode(), target) + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    first, _, _ = answer.partition(b"\r\n")
    return int(first.split()[1]), answer.partition(b"\r\n\r\n")[2]


def is_place(text: str) -> bool:
    try:
        return bool(file_paths.place(text))
    except PathError:
        return False


def spelt(text: str) -> list[bytes]:
    """Return ways to write a path in a request's target: as it is, and percent-encoded."""
    data = text.encode("utf-8", "surrogatepass")
    plain = b"".join(
        bytes([b]) if 0x21 <= b < 0x7F and b not in b"?#" else b"%%%02x" % b for b in data
    )
    every = b"".join(b"%%%02X" % b for b in data)
    return [plain, every]


def test_no_spelling_reaches_out_over_raw_http(api: Api) -> None:
    """Each of the corpus, plain and percent-encoded, to read, to write and to remove."""
    sha256 = api.upload(b"x")
    body = json.dumps({"sha256": sha256, "size_bytes": 1}).encode()
    fid = api.execution()
    base = f"/v1/executions/{fid}/files/".encode()
    before = api.call(api.parts.store.executions.count_by_status())
    for text in REFUSED:
        for target in spelt(text):
            meant = unquote(target.decode(), errors="surrogateescape")
            if not meant.strip("/") or is_place(meant):
                continue  # the list; a folder; and what decoding once makes a proper path
            for method in ("GET", "PUT", "DELETE"):
                code, answer = raw(api.url, method, base + target, body if method == "PUT" else b"")
                assert code in (400, 404, 405, 414), (method, target, code, answer)
                assert b"root:" not in answer
    with api.http() as client:
        assert client.get(f"/v1/executions/{fid}/files").json()["items"] == []
    assert api.call(api.parts.store.executions.count_by_status()) == before
    kept = {path.name for path in api.data_dir.rglob("*") if path.is_file()}
    assert kept <= {sha256, "store.db", "store.lock", "store.db-wal", "store.db-shm"}


def test_odd_names_pass_over_raw_http(api: Api) -> None:
    """What is accepted is kept under the very name that was meant."""
    sha256 = api.upload(b"y")
    body = json.dumps({"sha256": sha256, "size_bytes": 1}).encode()
    fid = api.execution()
    base = f"/v1/executions/{fid}/files/".encode()
    meant = [text for text in ACCEPTED if text.startswith("in/") and text not in ("in/in/out",)]
    meant.remove("in/a/b/c")  # in/a is a file
    for text in meant:
        code, answer = raw(api.url, "PUT", base + spelt(text)[1], body)
        assert (code, json.loads(answer)["path"]) == (200, text)
        assert raw(api.url, "GET", base + spelt(text)[1]) == (200, b"y")
    with api.http() as client:
        items = client.get(f"/v1/executions/{fid}/files").json()["items"]
    assert sorted(item["path"] for item in items) == sorted(meant)
