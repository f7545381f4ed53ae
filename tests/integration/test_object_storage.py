"""A control plane with files and bundles in S3-compatible storage, which goes and comes back."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import object_storage
from tests.support.driver import Koco, eventually, kill9, koco_of_its_own
from tests.support.object_storage import BUCKET, SECRET, Storage

#: Its own Ray starts in the first test's time.
pytestmark = pytest.mark.timeout(400)

MB = 1024 * 1024
CODE = """
    import hashlib, os, pathlib, tempfile
    from koco import step

    async def copy(tracer, report):
        async with await tracer.fs() as fs:
            data = await fs.open(report).read_all()
            path = pathlib.Path(tempfile.mkdtemp()) / "copy"
            path.write_bytes(data)
            await fs.upload(path)
        return hashlib.sha256(data).hexdigest()

    async def keys(tracer):
        return sorted(name for name in os.environ if name.startswith("AWS_"))

    @step
    async def make(size_mb):
        return "x" * (size_mb * 1024 * 1024)

    async def large(tracer):
        data = await make(3)
        await tracer.result(os.getpid())
        answer = await tracer.lock("go", {})
        await tracer.result(os.getpid())
        return f"{len(data)} {answer}"
"""
FLOWS = [
    {"name": "keys", "entrypoint": "s3_app:keys"},
    {"name": "copy", "entrypoint": "s3_app:copy"},
    {"name": "large", "entrypoint": "s3_app:large", "durable": True},
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with object_storage.serving(tmp_path_factory.mktemp("s3")) as storage:
        yield storage


@pytest.fixture(scope="module")
def app(storage: Storage) -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        koco.env |= storage.variables
        koco.up("--blobs", f"s3://{BUCKET}/koco")
        for name in storage.variables:
            del koco.env[name]  # `koco up` has kept them
        yield koco.deploy("s3", CODE, flows=FLOWS)


def stored(storage: Storage) -> list[str]:
    """Return the hashes of what is stored; the server leaves hidden files of broken uploads."""
    found = [name.rpartition("/")[2] for name in storage.objects() if name.startswith("koco/")]
    return [name for name in found if not name.startswith(".")]


def test_files_go_there_and_come_back_while_it_restarts(
    app: Koco, storage: Storage, tmp_path: Path
) -> None:
    """With the launch, in the flow, out of it, and down again: nothing is lost, only late."""
    report = tmp_path / "report.bin"
    report.write_bytes(content := os.urandom(20 * MB))
    sha256 = hashlib.sha256(content).hexdigest()
    before = len(stored(storage))

    def restart() -> None:
        for _ in range(2):
            time.sleep(1)
            storage.stop()
            time.sleep(2)
            storage.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    ran = app.run("run", "s3/copy", "-i", f"report=@{report}", "--wait", "--json").ok()
    restarting.join()
    ended = ran.lines()[-1]
    fid = ended["fid"]
    assert (ended["status"], ended["result"]) == ("finished", sha256)
    assert sha256 in stored(storage)
    assert len(stored(storage)) == before + 1  # the copy has the same content
    storage.stop()
    getting = app.popen("files", "get", fid, "out/copy", "--to", str(tmp_path))
    time.sleep(1)
    storage.start()
    _, err = getting.communicate(timeout=100)
    assert getting.returncode == 0, err
    assert (tmp_path / "copy").read_bytes() == content
    assert not [*(app.home / "local").glob("blobs/??/*")]


def test_large_results_of_steps_outlive_both(app: Koco, storage: Storage) -> None:
    """They are read again from there, after the control plane and its runner have been killed."""
    fid = app.launch("large")
    [lock] = eventually(lambda: app.get("/v1/locks")["items"])
    [runner] = [each["payload"] for each in app.get_events(fid) if each["kind"] == "result"]
    storage.stop()
    kill9(app.control_pid())
    kill9(runner)
    time.sleep(2)
    storage.start()
    eventually(lambda: app.get("/v1/locks")["items"])
    app.run("answer", fid, "go", "-i", "ok=true").ok()
    events = app.events(fid)
    assert events[-1]["payload"] == {"status": "finished"}
    pids = [each["payload"] for each in events if each["kind"] == "result"]
    assert len({*pids}) == 2  # another process read the result
    assert lock["fid"] == fid


def test_says_where_they_are_and_shows_no_secret(app: Koco, storage: Storage) -> None:
    """Status and doctor name the bucket. Neither they nor the log have the key."""
    status = app.run("status", "--json").ok()
    assert json.loads(status.out)["blobs"]["path"].startswith(f"s3://{BUCKET}/koco at http")
    doctor = app.run("doctor").ok()
    assert "can be written and read: s3://" in doctor.out
    log = (app.home / "local" / "control.log").read_text()
    assert not [text for text in (status.out, doctor.out, log) if SECRET in text]
    assert SECRET not in json.dumps(app.execute("keys").events)
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(app.execute("keys").result)
    again = app.run("up").ok()
    assert "upgraded" not in again.err


def test_a_deploy_waits_for_nothing_that_is_away(app: Koco, storage: Storage) -> None:
    """It fails and says why, the live release serves, and the next deploy succeeds."""
    storage.stop()
    try:
        folder = app.project("s3", CODE + "\n    # more\n", flows=FLOWS)
        failed = app.run("deploy", cwd=folder)
        assert failed.code == 3, failed.err
        assert "cannot be reached" in failed.err
        refused = app.run("up", "--blobs", "")
        assert (refused.code, "koco blobs copy" in refused.err) == (2, True), refused.err
    finally:
        storage.start()
    app.run("deploy", cwd=folder).ok()
    assert json.loads(app.run("status", "--json").ok().out)["services"][0]["release"] == 2
