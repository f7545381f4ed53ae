"""Uploads and files over real HTTP, a real store and real directories."""

import asyncio
import hashlib
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from koco.client.client import Client
from koco.client.context_file import Context
from koco.control import rpc
from koco.control.executions.files import Brought
from koco.control.storage import upload
from koco.control.storage.upload import PIECE_BYTES
from koco.errors import ConflictError, InputsError, KocoError, LimitError, NotFoundError, UsageError
from koco.events import wire
from koco.events.model import Status
from koco.events.questions import AccessFiles, OpenLock, Question, WaitForLock
from koco.store.model import FailureEvent, NewExecution, Policy
from tests.support import small_disk
from tests.support.api_server import Api, serving
from tests.support.driver import calm_s

MB = 1024 * 1024


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Api]:
    """For tests that look at the directories."""
    with serving(tmp_path / "data") as api:
        yield api


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def patch(api: Api, data: bytes, sha256: str, offset: int, length: int, key: str = "ada") -> Any:
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(length)}
    with api.http(key) as client:
        return client.patch(f"/v1/blobs/{sha256}", content=data, headers=headers)


def state(api: Api, sha256: str, key: str = "ada") -> tuple[int, bool]:
    with api.http(key) as client:
        headers = client.head(f"/v1/blobs/{sha256}").headers
    return int(headers["Upload-Offset"]), headers["Upload-Complete"] == "?1"


def client(api: Api, key: str = "ada") -> Client:
    return Client(Context("test", api.url, key))


def put(api: Api, fid: str, path: str, data: bytes, key: str = "ada") -> httpx.Response:
    body = {"sha256": api.upload(data, key), "size_bytes": len(data)}
    with api.http(key) as http:
        return http.put(f"/v1/executions/{fid}/files/{path}", json=body)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 7])
def test_an_upload_becomes_a_blob(own: Api, size: int) -> None:
    """Whole and under its hash; its part is gone. Empty files work, too."""
    data = os.urandom(size)
    sha256 = own.upload(data)
    assert state(own, sha256) == (size, True)
    assert (own.data_dir / "blobs" / sha256[:2] / sha256).read_bytes() == data
    assert list((own.data_dir / "parts").iterdir()) == []


def test_an_upload_continues_where_it_ended(api: Api) -> None:
    """In any number of requests. An error about the offset has the right one."""
    data = os.urandom(1000)
    sha256 = sha(data)
    assert state(api, sha256) == (0, False)
    assert patch(api, data[:300], sha256, 0, 1000).headers["Upload-Offset"] == "300"
    assert state(api, sha256) == (300, False)
    for offset in (0, 299, 500):
        wrong = patch(api, data[offset:], sha256, offset, 1000)
        assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "300")
    last = patch(api, data[300:], sha256, 300, 1000)
    assert (last.status_code, last.headers["Upload-Complete"]) == (204, "?1")
    again = patch(api, data, sha256, 0, 1000)
    assert (again.status_code, again.headers["Upload-Complete"]) == (204, "?1")


def test_bytes_of_a_broken_connection_are_kept(own: Api) -> None:
    """The next request continues from there, also after a restart."""
    data = os.urandom(3 * MB)
    sha256 = sha(data)
    url = urlsplit(own.url)
    head = (
        f"PATCH /v1/blobs/{sha256} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ada\r\n"
        f"Upload-Offset: 0\r\nUpload-Length: {len(data)}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port)) as wire:
        wire.sendall(head.encode() + data[: 2 * MB])
    for _ in range(200):
        offset, _ = state(own, sha256)
        if offset == 2 * MB:
            break
        time.sleep(0.01)
    assert offset == 2 * MB
    path = next((own.data_dir / "parts").iterdir())
    assert path.read_bytes() == data[: 2 * MB]
    with serving(own.data_dir.parent / "other") as other:
        path.rename(other.data_dir / "parts" / path.name)
        assert state(other, sha256) == (2 * MB, False)
        answer = patch(other, data[2 * MB :], sha256, 2 * MB, len(data))
        assert (answer.status_code, state(other, sha256)) == (204, (len(data), True))


def test_removes_content_with_another_hash(own: Api) -> None:
    """None of it is kept, and a correct upload works afterwards."""
    sha256 = sha(b"right")
    wrong = patch(own, b"wrong", sha256, 0, 5)
    assert wrong.status_code == 400
    assert sha(b"wrong") in wrong.json()["detail"]
    assert state(own, sha256) == (0, False)
    assert list((own.data_dir / "blobs").rglob("*")) == []
    assert patch(own, b"right", sha256, 0, 5).status_code == 204


def test_refuses_more_than_was_announced(api: Api) -> None:
    """None of it counts."""
    answer = patch(api, b"123456", sha(b"12345"), 0, 5)
    assert answer.status_code == 400
    assert "Upload-Length" in answer.json()["detail"]
    assert state(api, sha(b"12345")) == (0, False)


def test_two_requests_cannot_write_one_part(api: Api) -> None:
    """The second must come again (423), and the first one's bytes are correct."""
    data = os.urandom(2 * MB)
    sha256 = sha(data)
    release = threading.Event()
    codes: list[int] = []

    def slow() -> Iterator[bytes]:
        yield data[:MB]
        release.wait(10)
        yield data[MB:]

    def first() -> None:
        codes.append(patch(api, slow(), sha256, 0, len(data)).status_code)  # type: ignore[arg-type]

    thread = threading.Thread(target=first)
    thread.start()
    while not (offset := state(api, sha256)[0]):
        time.sleep(0.01)
    busy = patch(api, data[offset:], sha256, offset, len(data))
    release.set()
    thread.join(10)
    assert (busy.status_code, busy.json()["code"]) == (423, "busy")
    assert codes == [204]
    assert state(api, sha256) == (len(data), True)


def test_another_users_blob_can_be_neither_seen_nor_named(api: Api) -> None:
    """Knowing a hash does not give access to the file."""
    sha256 = api.upload(b"ada's own")
    assert state(api, sha256, "bob") == (0, False)
    fid = api.execution()
    body = {"sha256": sha256, "size_bytes": 9}
    with api.http("bob") as http:
        answer = http.put(f"/v1/executions/{fid}/files/in/x", json=body)
    assert answer.status_code == 404
    with pytest.raises(KocoError, match="has not been uploaded"):
        marked = {"f": {"$file": {"name": "x", "sha256": sha256}}}
        api.call(api.parts.files.resolve(marked, user="bob"))


def look_again(api: Api) -> None:
    """Have the disk looked at, however short ago that was done."""
    api.parts.disk._seen_at = -math.inf


def test_a_full_disk_counts_nothing_twice(own: Api) -> None:
    """507, with the offset unchanged. The upload continues when there is room."""
    data = os.urandom(2 * PIECE_BYTES)
    sha256 = sha(data)
    patch(own, data[:100], sha256, 0, len(data))
    arrived = next((own.data_dir / "parts").iterdir())
    with small_disk.told(own.data_dir, 1):
        look_again(own)
        assert patch(own, data[100:], sha256, 100, len(data)).status_code == 507
    look_again(own)
    kept = arrived.rename(arrived.with_suffix(".kept"))
    arrived.symlink_to("/dev/full")
    full = patch(own, data[100:], sha256, 100, len(data))
    assert (full.status_code, full.json()["code"]) == (507, "no_room")
    assert "No space left" in full.json()["detail"]
    arrived.unlink()
    kept.rename(arrived)
    assert state(own, sha256) == (100, False)
    assert patch(own, data[100:], sha256, 100, len(data)).status_code == 204
    assert state(own, sha256) == (len(data), True)


def test_refuses_a_file_above_the_control_planes_limit(tmp_path: Path) -> None:
    """413 before anything is sent, with the setting and its value."""
    with serving(tmp_path, max_file_mb=1) as api:
        answer = patch(api, b"", "0" * 64, 0, MB + 1)
    assert (answer.status_code, answer.json()["code"]) == (413, "limit")
    assert "max_file_mb is 1" in answer.json()["detail"]


def test_a_silent_upload_releases_its_part(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open connection that sends nothing prevents no other upload."""
    monkeypatch.setattr(upload, "_SILENCE_S", 0.2)
    hold = threading.Event()

    def stuck() -> Iterator[bytes]:
        yield b"12345"
        hold.wait(10)

    thread = threading.Thread(target=lambda: patch(api, stuck(), sha(b"1234567890"), 0, 10))  # type: ignore[arg-type]
    thread.start()
    for _ in range(100):
        if state(api, sha(b"1234567890")) == (5, False):
            break
        time.sleep(0.02)
    assert patch(api, b"67890", sha(b"1234567890"), 5, 10).status_code == 204
    hold.set()
    thread.join(10)


def test_unreferenced_blobs_are_collected_after_a_day(own: Api) -> None:
    """Blobs of files stay, and fresh uploads. Old uploads go."""
    day_ago = time.time() - 25 * 3600
    fid = own.execution()
    kept = put(own, fid, "in/kept", b"kept").json()["sha256"]
    gone, fresh = own.upload(b"gone"), own.upload(b"fresh")
    patch(own, b"x", sha(b"xy"), 0, 2)
    patch(own, b"u", sha(b"uv"), 0, 2)
    parts = {path.name[-64:]: path for path in (own.data_dir / "parts").iterdir()}
    os.utime(parts[sha(b"xy")], (day_ago, day_ago))
    for sha256 in (kept, gone):
        os.utime(own.data_dir / "blobs" / sha256[:2] / sha256, (day_ago, day_ago))

    def age(db: Any) -> None:
        db.execute("UPDATE uploads SET created = '2020' WHERE sha256 IN (?, ?)", (kept, gone))

    own.call(own.parts.store.engine.write(age))
    assert own.call(own.parts.files.blobs.collect()) == 2
    assert {path.name for path in (own.data_dir / "blobs").glob("??/*")} == {kept, fresh}
    assert [path.name[-64:] for path in (own.data_dir / "parts").iterdir()] == [sha(b"uv")]
    assert state(own, gone) == (0, False)
    assert state(own, fresh) == (5, True)


def test_a_file_can_be_listed_read_from_any_byte_and_removed(api: Api) -> None:
    """With headers that make browsers download it."""
    fid = api.execution()
    data = os.urandom(MB)
    assert put(api, fid, "in/a/b.html", data).status_code == 200
    url = f"/v1/executions/{fid}/files/in/a/b.html"
    with api.http() as http:
        [item] = http.get(f"/v1/executions/{fid}/files", params={"path": "in/a"}).json()["items"]
        assert item | {"created": ""} == {
            "path": "in/a/b.html",
            "size_bytes": MB,
            "sha256": sha(data),
            "by": "ada",
            "created": "",
        }
        whole = http.get(url)
        assert (whole.status_code, whole.content) == (200, data)
        assert whole.headers["ETag"] == f'"{sha(data)}"'
        assert whole.headers["Content-Length"] == str(MB)
        assert whole.headers["Content-Disposition"] == "attachment"
        assert whole.headers["X-Content-Type-Options"] == "nosniff"
        assert whole.headers["Content-Type"] == "application/octet-stream"
        rest = http.get(url, headers={"Range": "bytes=1000-"})
        assert (rest.status_code, rest.content) == (206, data[1000:])
        assert rest.headers["Content-Range"] == f"bytes 1000-{MB - 1}/{MB}"
        assert http.get(url, headers={"Range": f"bytes={MB}-"}).status_code == 416
        for strange in ("lines=1-2", f"bytes={'9' * 5000}-", f"bytes=0-{'9' * 5000}"):
            assert http.get(url, headers={"Range": strange}).content == data
        assert http.get(f"/v1/executions/{fid}/files/in/a").status_code == 404
        assert http.delete(f"/v1/executions/{fid}/files/in/a").json()["items"][0] == item
        assert http.delete(f"/v1/executions/{fid}/files/in/a").status_code == 404
        assert http.get(url).status_code == 404


def test_only_in_and_out_exist_without_files(api: Api) -> None:
    """An empty list is correct for these and wrong for others."""
    fid = api.execution()
    files = client(api).files
    assert files.ls(fid) == files.ls(fid, "in") == files.ls(fid, "out/") == []
    with pytest.raises(NotFoundError):
        files.ls(fid, "in/sub")
    with pytest.raises(NotFoundError):
        files.ls("0" * 16)


def test_each_change_is_an_event(api: Api) -> None:
    """In the same transaction. A repeated change has one; a removal says so."""
    fid = api.execution()
    for _ in range(2):
        assert put(api, fid, "in/a", b"1").status_code == 200
    with api.http() as http:
        http.delete(f"/v1/executions/{fid}/files/in")
    told = [event["payload"] for event in events(api, fid) if event["kind"] == "upload"]
    about = {"path": "in/a", "size_bytes": 1, "sha256": sha(b"1"), "by": "ada"}
    assert told == [about, {**about, "removed": True}]


def events(api: Api, fid: str) -> list[dict[str, Any]]:
    return list(client(api).events(fid))


def test_an_ended_execution_takes_no_files(api: Api) -> None:
    """Its own can be read, and removed without an event."""
    fid = api.execution()
    put(api, fid, "in/a", b"1")
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    assert put(api, fid, "in/b", b"2").status_code == 409
    assert [file["path"] for file in client(api).files.remove(fid, "in/a")] == ["in/a"]
    assert events(api, fid)[-1]["kind"] == "status"


def test_users_write_only_to_in(api: Api) -> None:
    """The flow makes the files in out/."""
    fid = api.execution()
    answer = put(api, fid, "out/a", b"1")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


def test_a_path_is_a_file_or_a_folder(api: Api) -> None:
    """In either order, so that any set of files can be downloaded."""
    fid = api.execution()
    put(api, fid, "in/a", b"1")
    assert put(api, fid, "in/a/b", b"2").status_code == 409
    put(api, fid, "in/d/e/f", b"3")
    assert put(api, fid, "in/d/e", b"4").status_code == 409
    assert put(api, fid, "in/d", b"4").status_code == 409
    assert put(api, fid, "in/d0", b"4").status_code == 200


@pytest.mark.parametrize(
    ("sizes", "setting"),
    [([5 * MB], "max_size_mb is 4"), ([3 * MB, 3 * MB + 1, 3 * MB + 2], "max_total_mb is 8")],
)
def test_names_the_services_limits(api: Api, sizes: list[int], setting: str) -> None:
    """With value and requested amount. Existing files stay."""
    fid = api.execution()
    for number, size in enumerate(sizes):
        answer = put(api, fid, f"in/{number}", bytes(size))
    assert (answer.status_code, answer.json()["code"]) == (413, "limit")
    assert f"files.{setting}" in answer.json()["detail"]
    assert len(client(api).files.ls(fid)) == len(sizes) - 1


def test_checks_a_launch_against_the_services_limits(api: Api) -> None:
    """Before anything is committed: 101 files if a hundred are allowed."""
    sha256 = api.upload(b"x")
    marks = [{"$file": {"name": f"d/{n}", "sha256": sha256}} for n in range(101)]
    resolve = api.parts.files.resolve
    with pytest.raises(LimitError, match=r"101 files; the service's files\.max_count is 100"):
        api.call(resolve({"docs": marks}, user="ada", service="svc", release=1))
    inputs, files = api.call(resolve({"docs": marks[:2]}, user="ada", service="svc", release=1))
    assert inputs == {"docs": ["in/d/0", "in/d/1"]}
    assert [file.path for file in files] == ["in/d/0", "in/d/1"]


def test_two_files_of_a_launch_with_one_name_both_arrive(api: Api) -> None:
    """The second gets a number. The same content twice is one file."""
    one, two = api.upload(b"1"), api.upload(b"2")
    inputs = {
        "a": {"$file": {"name": "r.pdf", "sha256": one}},
        "b": {"$file": {"name": "r.pdf", "sha256": two}},
        "c": {"$file": {"name": "r.pdf", "sha256": one}},
    }
    values, files = api.call(api.parts.files.resolve(inputs, user="ada"))
    assert values == {"a": "in/r.pdf", "b": "in/r-2.pdf", "c": "in/r.pdf"}
    assert {file.path: file.sha256 for file in files} == {"in/r.pdf": one, "in/r-2.pdf": two}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("a/b", "c", "a/b/d/e")])
def test_a_file_of_a_launch_is_not_anothers_folder(api: Api, names: tuple[str, ...]) -> None:
    """Whichever comes first."""
    sha256 = api.upload(b"x")
    marks = [{"$file": {"name": name, "sha256": sha256}} for name in names]
    with pytest.raises(InputsError, match="one is a file, the other a folder"):
        api.call(api.parts.files.resolve({"docs": marks}, user="ada"))


@pytest.mark.parametrize(
    "wanted", [[f"in/d{n}/x" for n in range(12_000)], ["in/r.pdf"] * 12_000], ids=["other", "same"]
)
def test_names_many_files_of_a_launch_quickly(wanted: list[str]) -> None:
    """Not in quadratic time, because others wait meanwhile."""
    brought, began = Brought(), time.thread_time()
    for number, path in enumerate(wanted):
        brought.take(brought.free(path, str(number)), str(number), 1)
    assert time.thread_time() - began < 4
    assert len(brought.files) == len(wanted)
    assert brought.free(wanted[7], "7") == [*brought.files][7]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\x00", ""])
def test_a_file_of_a_launch_needs_a_valid_name(api: Api, name: str) -> None:
    """The error is reported at its field."""
    sha256 = api.upload(b"x")
    mark = {"$file": {"name": name, "sha256": sha256}}
    with pytest.raises(KocoError) as raised:
        api.call(api.parts.files.resolve({"doc": mark}, user="ada"))
    assert "doc" in raised.value.errors  # type: ignore[attr-defined]


def test_a_flows_token_opens_only_its_own_files(api: Api) -> None:
    """Nothing else, under no other name, and only while it runs."""
    fid, other = api.execution(), api.execution()
    put(api, fid, "in/a", b"1")
    put(api, other, "in/a", b"2")
    token = api.parts.files.token(fid)
    flow = client(api, token).files
    assert [file["path"] for file in flow.ls(fid)] == ["in/a"]
    assert put(api, fid, "out/r", b"3", token).status_code == 200
    assert flow.ls(fid, "out")[0]["by"] == "flow"
    assert put(api, fid, "in/b", b"4", token).status_code == 403
    with api.http(token) as http:
        for path in (f"/v1/executions/{other}/files", f"/v1/executions/{other}/files/in/a"):
            assert http.get(path).status_code == 403
        assert http.get("/v1/executions/latest/files").status_code == 403
        assert http.get(f"/v1/executions/{fid[:8]}/files").status_code == 403
        for path in ("/v1/executions", f"/v1/executions/{fid}", "/v1/status", "/v1/flows"):
            assert http.get(path).status_code == 401
    for forged in (f"kocof_{other}_{token.rpartition('_')[2]}", token[:-1], "kocof_", "kocof_ä"):
        with api.http() as http:
            answer = http.get(
                f"/v1/executions/{other}/files",
                headers={"Authorization": f"Bearer {forged}".encode()},
            )
        assert answer.status_code == 401, forged
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    with api.http(token) as http:
        assert http.get(f"/v1/executions/{fid}/files").status_code == 401


@pytest.mark.parametrize(
    "blob",
    [b"", b"junk", b"{}", b"[" * 200_000, b"\xff", None, 5, b'["f","lock.wait",{"lid":1}]'],
)
def test_an_invalid_question_is_answered_and_not_logged(
    api: Api, blob: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Any code in the cluster may send it, as often as it likes."""
    with pytest.raises(UsageError, match="not a valid question"):
        wire.decode_answer(api.call(rpc.answer(api.parts, blob)), AccessFiles())
    assert caplog.text == ""


def test_leftovers_of_an_attempt_cannot_act_for_the_next(api: Api) -> None:
    """Their questions are refused, and their token is invalid."""

    def ask(question: Question[Any], attempt: int) -> Any:
        blob = wire.encode_question(fid, question, attempt=attempt)
        return wire.decode_answer(api.call(rpc.answer(api.parts, blob)), question)

    def state(token: str) -> int:
        with api.http(token) as http:
            return http.get(f"/v1/executions/{fid}/files").status_code

    policy = Policy(retries=1, backoff_s=0)
    new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, policy=policy)
    execution, _ = api.call(api.parts.store.executions.create(new))
    fid = execution.fid
    api.call(api.parts.store.executions.assign(fid, "r1"))
    before = ask(AccessFiles(), 1).token
    assert state(before) == 200
    assert api.call(
        api.parts.store.executions.lose(fid, "r1", FailureEvent(type="RunnerDied", message="m"))
    )
    assert state(before) == 401
    open_lock = OpenLock(lid="l1", name="n", data=None, timeout_s=60)
    for question in (AccessFiles(), open_lock, WaitForLock(lid="l1")):
        with pytest.raises(ConflictError, match="ended; attempt 2 follows"):
            ask(question, 1)
    now = ask(AccessFiles(), 2).token
    assert now != before
    assert state(now) == 200


def test_the_client_uploads_missing_content_and_downloads_it(own: Api, tmp_path: Path) -> None:
    """In slices, resumed where they stopped. The second time nothing is sent."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(5 * MB))
    sha256, size = sha(source.read_bytes()), 5 * MB
    patch(own, source.read_bytes()[:MB], sha256, 0, size)
    files, fid, seen = client(own).files, own.execution(), list[int]()
    files.upload(source, sha256, size_bytes=size, advance=seen.append)
    assert sum(seen) == size
    seen.clear()
    files.upload(source, sha256, size_bytes=size, advance=seen.append)
    assert seen == [size], "it was asked for, and that is all"
    file = {"path": "in/x", "size_bytes": size, "sha256": sha256}
    with pytest.raises(LimitError):
        files.attach(fid, "in/x", sha256=sha256, size_bytes=size)
    source.write_bytes(b"small")
    files.upload(source, sha(b"small"), size_bytes=5)
    file = files.attach(fid, "in/x", sha256=sha(b"small"), size_bytes=5)
    dest = tmp_path / "dest"
    (tmp_path / f".{file['sha256'][:32]}.part").write_bytes(b"sma")
    files.fetch(fid, file, dest)
    assert dest.read_bytes() == b"small"
    (tmp_path / f".{file['sha256'][:32]}.part").write_bytes(b"SMA")
    with pytest.raises(KocoError, match="did not arrive unchanged"):
        files.fetch(fid, file, dest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "dest", "source"]


def test_the_client_waits_for_another_upload_and_continues_it(api: Api, tmp_path: Path) -> None:
    """However long a slice takes: only time without progress counts."""
    source = tmp_path / "source"
    source.write_bytes(data := os.urandom(2 * MB))
    release = threading.Event()

    def slow() -> Iterator[bytes]:
        yield data[:MB]
        release.wait(10)

    first = threading.Thread(target=lambda: patch(api, slow(), sha(data), 0, len(data)))  # type: ignore[arg-type]
    first.start()
    while not state(api, sha(data))[0]:
        time.sleep(0.01)
    seen: list[int] = []
    uploading = threading.Thread(
        target=client(api).files.upload,
        args=(source, sha(data)),
        kwargs={"size_bytes": len(data), "advance": seen.append},
    )
    uploading.start()
    time.sleep(0.3)
    assert uploading.is_alive()
    release.set()
    uploading.join(10)
    first.join(10)
    assert state(api, sha(data)) == (len(data), True)
    assert sum(seen) == len(data)


def test_detects_a_damaged_blob(api: Api, tmp_path: Path) -> None:
    """A download is checked against the hash of the upload."""
    fid = api.execution()
    file = put(api, fid, "in/a", b"12345").json()
    (api.data_dir / "blobs" / file["sha256"][:2] / file["sha256"]).write_bytes(b"1234X")
    with pytest.raises(KocoError, match="did not arrive"):
        client(api).files.fetch(fid, file, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_detects_a_file_that_changes_while_it_is_read(api: Api) -> None:
    """Instead of uploading halves of two versions."""
    fid = api.execution()
    file = put(api, fid, "in/a", b"1").json()
    put(api, fid, "in/a", b"2")
    with pytest.raises(ConflictError, match="was replaced while"):
        list(client(api).files.read(fid, file))


def test_events_do_not_wait_for_a_large_upload(api: Api) -> None:
    """While 16 MB arrive, the loop answers others within milliseconds."""
    late: list[float] = []

    async def watch() -> None:
        for _ in range(100):
            began = calm_s()
            await asyncio.sleep(0.002)
            late.append(calm_s() - began)

    watching = asyncio.run_coroutine_threadsafe(watch(), api.loop)
    api.upload(os.urandom(16 * MB))
    watching.result(100)
    assert sorted(late)[-10] < 0.05


def test_a_blob_that_was_made_endless_does_not_fill_the_memory(own: Api) -> None:
    """Whoever keeps the blobs may send anything in place of a step's result."""
    blobs = own.parts.files.blobs
    sha256 = own.upload(b"a step's result")
    os.truncate(blobs.kept.path(sha256), 1024 * MB)
    read = 0
    pieces_of = blobs.open

    async def counting(name: str) -> Any:
        async def count() -> Any:
            nonlocal read
            async for piece in await pieces_of(name):
                read += len(piece)
                yield piece

        return count()

    blobs.open = counting
    with pytest.raises(KocoError, match="is damaged: it has more than 64 MB"):
        own.call(blobs.content(sha256))
    assert read < 70 * MB
