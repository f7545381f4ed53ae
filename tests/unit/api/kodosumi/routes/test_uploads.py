"""Uploads in chunks and files of executions, as Kodosumi's clients send and read them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from koco.control.storage.chunked import CHUNK_BYTES
from koco.events.model import Status
from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, execute, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        yield client


def complete(client: KodosumiClient, upload: str, name: str, total: int, **more: str) -> object:
    body = {"upload_id": upload, "filename": name, "total_chunks": total, **more}
    return client.post("/files/complete/in", body, status=201)


def test_an_upload_is_attached_to_an_execution(api: Api, client: KodosumiClient) -> None:
    """Its chunks may come at once and twice. Listing, reading and deleting work as in Kodosumi."""
    fid = execute(api, ends=False)
    begin = {"filename": "a b.bin", "total_chunks": 8}
    upload = client.post("/files/init", begin, status=201)["upload_id"]
    chunks = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        sent = [*enumerate(chunks), *enumerate(chunks)]
        counts = [*pool.map(lambda each: client.chunk(upload, *each)["received_chunks"], sent)]
    assert max(counts) == 8
    answer = complete(client, upload, "sub/a b.bin", 8, fid=fid)
    assert answer == {
        "status": "upload complete",
        "completion_id": fid,
        "batch_id": "",
        "final_file": "sub/a b.bin",
        "final_path": f"{fid}/sub/a b.bin",
    }
    [file] = client.get(f"/files/{fid}/in")
    assert (file["path"], file["size"]) == ("in/sub/a b.bin", 400_000)
    assert file["last_modified"] > 1e9
    answer = client.http.get(f"/files/{fid}/in/sub/a%20b.bin")
    assert answer.content == b"".join(chunks)
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"a%20b.bin\"; filename*=UTF-8''a%20b.bin"
    )
    assert client.get(f"/files/{fid}/out") == []
    assert client.http.delete(f"/files/{fid}/in/sub").status_code == 204
    assert client.http.get(f"/files/{fid}/in/sub/a%20b.bin").status_code == 404


def test_a_batch_is_attached_to_an_execution(api: Api, client: KodosumiClient) -> None:
    """All of it or, if one upload is wrong, nothing."""
    fid = execute(api, ends=False)
    batch = client.post("/files/init_batch", status=201)["batch_id"]
    ids = {name: client.upload(name, [name.encode()], batch) for name in ("a", "d/b", "empty")}
    body = {ids[name]: {"filename": name, "totalChunks": 1} for name in ids}
    wrong = {**body, "00000000-0000-4000-8000-000000000000": {"filename": "c", "totalChunks": 1}}
    path = f"/files/complete/{fid}/{batch}/in"
    assert client.http.post(path, json=wrong).status_code == 404
    assert client.get(f"/files/{fid}/in") == []
    answers = client.post(path, body, status=201)
    assert [each["final_file"] for each in answers] == ["a", "d/b", "empty"]
    paths = [each["path"] for each in client.get(f"/files/{fid}/in")]
    assert paths == ["in/a", "in/d/b", "in/empty"]
    assert client.post(path, body, status=201) == answers  # repeated, because an answer was lost


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "a//b", "..", "", "a\0b", "%2e%2e/x", "x" * 2000]
)
def test_names_that_lead_elsewhere_are_refused(client: KodosumiClient, name: str) -> None:
    """When the upload begins, and when it is completed."""
    begin = {"filename": name, "total_chunks": 1}
    assert client.http.post("/files/init", json=begin).status_code == 400
    upload = client.upload("good", [b"x"])
    body = {"upload_id": upload, "filename": name, "total_chunks": 1}
    assert client.http.post("/files/complete/in", json=body).status_code == 400


def test_wrong_chunks_are_refused(client: KodosumiClient) -> None:
    """Their number, their size, their upload, their form. The answers have `error`, as there."""
    upload = client.post("/files/init", {"filename": "a", "total_chunks": 2}, status=201)[
        "upload_id"
    ]
    client.chunk(upload, 0, b"x" * CHUNK_BYTES)
    assert client.chunk(upload, 2, b"x", status=400)["error"]
    assert client.chunk(upload, 1, b"x" * (CHUNK_BYTES + 1), status=413)["error"]
    assert client.chunk(upload, 1, b"x" * (CHUNK_BYTES + 100_000), status=413)["error"]
    assert client.chunk(upload, 0, b"y", status=409)["error"]
    assert "Invalid upload ID" in client.chunk("../..", 0, b"y", status=404)["detail"]
    body = {"upload_id": upload, "filename": "a", "total_chunks": 2}
    answer = client.http.post("/files/complete/in", json=body)
    assert (answer.status_code, "no chunk 1 yet" in answer.text) == (409, True)
    form = {"upload_id": upload, "chunk_number": "0000000001"}
    files = {"chunk": ("c", b"y", "application/octet-stream")}
    answer = client.http.post("/files/chunk", data=form, files=files)
    assert (answer.status_code, answer.json().get("chunk_number")) == (201, 1), answer.text
    for number in (10**9, 10**8, 2, 10**50):
        assert client.chunk(upload, number, b"y", status=400)["error"]
    more = {**body, "total_chunks": 3}
    assert client.http.post("/files/complete/in", json=more).status_code == 400
    for form in ({}, {"upload_id": upload}, {"upload_id": upload, "chunk_number": "-1"}):
        files = {"chunk": ("c", b"x", "application/octet-stream")}
        assert client.http.post("/files/chunk", data=form, files=files).status_code == 400
    assert client.http.post("/files/chunk", content=b"x").status_code == 400


def test_uploads_are_cancelled(api: Api, client: KodosumiClient) -> None:
    """By either route; only by their user."""
    for cancel in (
        lambda upload: client.http.post("/files/cancel", json={"upload_id": upload}),
        lambda upload: client.http.delete(f"/files/cancel/{upload}"),
    ):
        upload = client.upload("a", [b"x"])
        with client_of(api, "bob") as bob:
            assert bob.http.delete(f"/files/cancel/{upload}").status_code == 404
        assert cancel(upload).status_code in (200, 204)
        assert cancel(upload).status_code == 404


def test_files_stay_where_they_belong(api: Api, client: KodosumiClient) -> None:
    """Users put files into `in/` only, and not into an ended execution; no path leads elsewhere."""
    upload = client.upload("a", [b"x"])
    body = {"upload_id": upload, "filename": "a", "total_chunks": 1}
    assert client.http.post("/files/complete/out", json=body).status_code == 403
    assert client.http.post("/files/complete/tmp", json=body).status_code == 400
    fid = execute(api)
    assert client.http.post("/files/complete/in", json={**body, "fid": fid}).status_code == 409
    for path in ("in/../../x", "in/%2e%2e/x", "tmp", "in/%00", "..%2fx"):
        answer = client.http.get(f"{api.url}/files/{fid}/{path}")
        assert answer.status_code in (400, 404), path
    assert client.get(f"/files/{fid}/in") == []


def test_links_in_results_work(api: Api, client: KodosumiClient) -> None:
    """Services write them as Markdown."""
    fid = execute(api, ends=False)
    complete(client, client.upload("r.md", [b"# R"]), "r.md", 1, fid=fid)
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    assert client.http.get(f"/files/{fid}/in/r.md").content == b"# R"
