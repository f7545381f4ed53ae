"""A backup is of one moment, complete or refused, and restores everything."""

import asyncio
import io
import os
import re
import stat
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from koco.control.backup import archive, restoring
from koco.control.backup.archive import BackupError
from koco.control.services.secrets import Vault
from koco.errors import ConflictError, KocoError, UsageError
from koco.store.store import Store
from tests.support import postgres
from tests.support.api_server import Api, serving
from tests.support.small_disk import MB, mounted, told
from tests.unit.conftest import Cli, Use


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with serving(data_dir) as api:
        api.admit("root", "admin")
        yield api


@pytest.fixture
def ours(api: Api, use: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    """The API as the command line's context."""
    use(api.url, "root")
    monkeypatch.chdir(tmp_path)
    return api


def fill(api: Api) -> tuple[str, str]:
    """Store an execution, a blob and a secret; return the fid and the blob."""
    fid = api.execution()
    sha256 = api.upload(b"content " * 1000)
    api.call(api.parts.vault.put("TOKEN", "sesame-open", by="ada"))
    return fid, sha256


def made(api: Api, to: Path) -> Path:
    with api.http("root") as client:
        answer = client.post("/v1/backup")
    assert answer.status_code == 200, answer.text
    to.write_bytes(answer.content)
    return to


async def look(data_dir: Path, fid: str, url: str = "") -> tuple[str, str]:
    """Return an execution's flow and the secret, as a new control plane finds them."""
    store = Store.at(url or data_dir / "store.db")
    await store.open()
    try:
        execution = await store.executions.get(fid)
        return execution.flow, await Vault(store, data_dir).value("TOKEN")
    finally:
        await store.close()


def test_a_restored_directory_has_everything(api: Api, tmp_path: Path) -> None:
    """Rows, blobs and readable secrets. Nobody else can read the files."""
    fid, sha256 = fill(api)
    new = tmp_path / "new"
    head, former = restoring.restore(made(api, tmp_path / "x"), new, replaces=False)
    assert (head.blobs, head.url, former) == (1, api.parts.url, None)
    assert api.call(look(new, fid)) == ("svc/flow", "sesame-open")
    assert (new / "blobs" / sha256[:2] / sha256).read_bytes() == b"content " * 1000
    files = [path for path in new.rglob("*") if path.is_file()]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in files)
    assert not [*new.glob("restoring-*"), *api.data_dir.glob("backup-*")]


def test_is_of_one_moment_while_others_write(api: Api, tmp_path: Path) -> None:
    """What is written meanwhile is in it as a whole or not at all."""
    stopped = threading.Event()

    def write() -> None:
        while not stopped.is_set():
            api.execution()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        backups = [made(api, tmp_path / f"{number}") for number in range(5)]
    finally:
        stopped.set()
        writing.join()
    for number, backup in enumerate(backups):
        new = tmp_path / f"new{number}"
        restoring.restore(backup, new, replaces=False)
        api.call(_check_tallies(new))


async def _check_tallies(data_dir: Path) -> None:
    store = Store.at(data_dir / "store.db")
    await store.open()
    counted = await store.engine.read(lambda db: db.execute("SELECT count(*) FROM executions"
        " UNION ALL SELECT total(count) FROM tallies").fetchall())  # fmt: skip
    await store.close()
    assert counted[0] == counted[1]


def test_no_blob_is_removed_while_a_backup_is_read(api: Api, tmp_path: Path) -> None:
    """Even if nothing refers to it any more. Afterwards it goes."""
    _, sha256 = fill(api)
    path = api.parts.files.blobs.kept.path(sha256)

    async def body() -> bytes:
        pieces = api.parts.backups.pieces()
        data: bytes = await anext(pieces)
        await api.parts.store.engine.write(lambda db: db.execute("DELETE FROM uploads"))
        _age(path)
        assert await api.parts.files.blobs.collect() == 0
        return data + b"".join([piece async for piece in pieces])

    (tmp_path / "x").write_bytes(api.call(body()))
    assert archive.read(tmp_path / "x").blobs == 1
    assert api.call(api.parts.files.blobs.collect()) == 1


def test_a_reader_that_leaves_leaves_nothing(api: Api) -> None:
    """No copy of the store, and no hold on blobs."""
    _, sha256 = fill(api)

    async def body() -> None:
        pieces = api.parts.backups.pieces()
        await anext(pieces)
        assert [*api.data_dir.glob("backup-*")]
        await pieces.aclose()
        await api.parts.backups.pieces().aclose()  # one that was never begun
        await api.parts.store.engine.write(lambda db: db.execute("DELETE FROM uploads"))

    api.call(body())
    assert not [*api.data_dir.glob("backup-*")]
    _age(api.parts.files.blobs.kept.path(sha256))
    assert api.call(api.parts.files.blobs.collect()) == 1


def _age(path: Path) -> None:
    old = time.time() - 7 * 86400
    os.utime(path, (old, old))


def test_an_incomplete_or_changed_file_is_refused(api: Api, tmp_path: Path) -> None:
    """Wherever it was cut or changed; the data directory stays empty."""
    fill(api)
    data = made(api, tmp_path / "x").read_bytes()
    end = data.rindex(b"end.json")
    cuts = [0, 100, 512, 2000, len(data) // 2, end - 1, end + 100, end + 512]
    broken = [data[:cut] for cut in cuts]
    content = data.index(b"content content")
    broken.append(data[:content] + b"C" + data[content + 1 :])
    store = data.index(b"SQLite format 3")
    broken.append(data[: store + 5000] + b"XX" + data[store + 5002 :])
    for number, each in enumerate(broken):
        (tmp_path / "y").write_bytes(each)
        with pytest.raises(BackupError):
            restoring.restore(tmp_path / "y", tmp_path / "new", replaces=False)
        assert [*(tmp_path / "new").iterdir()] == [], number


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "blobs/../../evil", "blobs/..", "reserve", "store.db/x"]
)
def test_a_hostile_name_reaches_nothing(api: Api, tmp_path: Path, name: str) -> None:
    """Only the names of the format are written."""
    data = made(api, tmp_path / "x").read_bytes()
    first = data.index(b"store.db")
    evil = archive.header(name, 3) + b"bad" + archive.padding(3)
    (tmp_path / "y").write_bytes(data[:first] + evil + data[first:])
    with pytest.raises(UsageError):
        restoring.restore(tmp_path / "y", tmp_path / "new", replaces=False)
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "reserve")]


def test_links_are_refused(api: Api, tmp_path: Path) -> None:
    """A member that is not a file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("koco-backup.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (tmp_path / "y").write_bytes(out.getvalue())
    with pytest.raises(BackupError):
        restoring.restore(tmp_path / "y", tmp_path / "new", replaces=False)


def test_never_over_a_store_unless_asked(api: Api, tmp_path: Path) -> None:
    """And never over one that is in use. The former one is moved, not deleted."""
    fid, _ = fill(api)
    backup, new = made(api, tmp_path / "x"), tmp_path / "new"
    with pytest.raises(ConflictError, match="is running"):
        restoring.restore(backup, api.data_dir, replaces=True)
    restoring.restore(backup, new, replaces=False)
    with pytest.raises(ConflictError, match="already"):
        restoring.restore(backup, new, replaces=False)
    _, former = restoring.restore(backup, new, replaces=True)
    assert (
        isinstance(former, Path)
        and (former / "store.db").is_file()
        and (former / "secrets.key").is_file()
    )
    assert api.call(look(new, fid)) == ("svc/flow", "sesame-open")


def test_restores_into_a_database(api: Api, tmp_path: Path) -> None:
    """Never over a store unless asked; the former one is in a schema of its own then."""
    fid, sha256 = fill(api)
    backup, new = made(api, tmp_path / "x"), tmp_path / "new"
    url = postgres.databases().url(tmp_path)
    _, former = restoring.restore(backup, new, replaces=False, store=url)
    assert former is None
    assert api.call(look(new, fid, url)) == ("svc/flow", "sesame-open")
    assert (new / "blobs" / sha256[:2] / sha256).is_file()
    assert not (new / "store.db").exists()
    with pytest.raises(ConflictError, match="already"):
        restoring.restore(backup, new, replaces=False, store=url)
    _, former = restoring.restore(backup, new, replaces=True, store=url)
    assert isinstance(former, str)
    with psycopg.connect(url) as db:
        schema = former.split()[2]
        found = db.execute(f"SELECT fid FROM {schema}.executions")  # type: ignore[call-overload]
        assert (fid,) in found.fetchall()
    assert api.call(look(new, fid, url)) == ("svc/flow", "sesame-open")

    async def hold() -> None:
        store = Store.at(url)
        await store.open()
        try:
            with pytest.raises(ConflictError, match="open"):
                await asyncio.to_thread(restoring.restore, backup, new, replaces=True, store=url)
        finally:
            await store.close()

    asyncio.run(hold())
    assert api.call(look(new, fid, url)) == ("svc/flow", "sesame-open")


def test_the_command_writes_a_checked_file(ours: Api, cli: Cli, tmp_path: Path) -> None:
    """Of mode 0600, and never over another one unless asked."""
    fill(ours)
    ran = cli("backup", "koco.backup")
    assert (ran.code, ran.out) == (0, "koco.backup\n")
    assert "1 file; keep it secret" in ran.err
    assert stat.S_IMODE((tmp_path / "koco.backup").stat().st_mode) == 0o600
    assert archive.read(tmp_path / "koco.backup").blobs == 1
    assert cli("backup", "koco.backup").code == ConflictError.exit_code
    assert cli("backup", "koco.backup", "--force").code == 0


def test_a_terminal_shows_how_much_has_come(
    ours: Api, terminal: Cli, cli: Cli, tmp_path: Path
) -> None:
    """The backup itself says how large it will be; a pipe gets no bar."""
    fill(ours)
    shown = terminal("backup", "koco.backup").out
    size_bytes = (tmp_path / "koco.backup").stat().st_size
    assert "koco.backup: the control plane copies its store" in shown
    size = f"{size_bytes / 1000:.1f}"
    assert re.search(rf"koco\.backup .*{size}/{size} kB", shown)
    assert "\x1b" not in cli("backup", "koco.backup", "--force").err


def test_the_start_of_a_backup_tells_its_size(api: Api, tmp_path: Path) -> None:
    """As soon as its first member has come. One of an earlier version does not tell it."""
    fill(api)
    backup = made(api, tmp_path / "b").read_bytes()
    whole = next(end for end in range(len(backup)) if archive.announced(backup[:end]) is not None)
    assert archive.announced(backup[:whole]) == archive.announced(backup) == len(backup)
    assert archive.BLOCK < whole < 2 * archive.BLOCK
    content = backup[archive.BLOCK : whole]
    former = msgspec.json.encode({**msgspec.json.decode(content), "size_bytes": 0})
    assert archive.announced(archive.header(archive.HEAD, len(former)) + former) == 0
    assert archive.announced(b"<html>" * 200) == 0


def test_an_interrupted_download_leaves_no_file(
    ours: Api, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that looks whole nor a part."""
    fill(ours)

    async def broken(part: Any, _: Any) -> AsyncIterator[bytes]:
        if part.name.startswith("blobs/"):
            raise KocoError("the disk is gone")
        yield part.source if isinstance(part.source, bytes) else part.source.read_bytes()

    monkeypatch.setattr("koco.control.backup.making._content", broken)
    ran = cli("backup", "koco.backup")
    assert ran.code == 3, ran.err
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]


def test_only_admins_may(api: Api) -> None:
    """A backup has everybody's secrets; the audit log says who made one."""
    with api.http("ada") as client:
        assert client.post("/v1/backup").status_code == 403
    with api.http("root") as client:
        client.post("/v1/backup")
        done, refused = client.get("/v1/audit?action=make_backup").json()["items"]
    assert (done["who"], done["outcome"]) == ("root", "ok")
    assert refused["outcome"] == "not_allowed"


def test_a_full_disk_leaves_nothing(ours: Api, cli: Cli, tmp_path: Path) -> None:
    """Neither of a backup nor of a restore; a store that was there stays in its place."""
    data = os.urandom(6 * MB)
    ours.upload(data)
    backup = made(ours, tmp_path / "x")
    with mounted(4) as disk:
        ran = cli("backup", f"{disk}/koco.backup")
        assert (ran.code, "no room" in ran.err) == (74, True), ran.err  # as `koco files get`
        assert not [*disk.iterdir()]
        (disk / "store.db").write_bytes(b"former")
        with pytest.raises(KocoError, match="no room"):
            restoring.restore(backup, disk, replaces=True)
        assert [path.name for path in disk.iterdir()] == ["store.db"]


def test_the_control_planes_disk_needs_room_for_a_copy(api: Api) -> None:
    """Else the answer says so, before anything is sent."""
    api.upload(os.urandom(1000))
    with told(api.data_dir, 1), api.http("root") as client:
        time.sleep(0.15)  # a reading of the disk counts for a moment
        answer = client.post("/v1/backup")
    assert answer.status_code == 507, answer.text
    assert not [*api.data_dir.glob("backup-*")]
