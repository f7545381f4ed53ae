"""`koco up` on this machine, up to the order to the process that uses Ray."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from koco.cli.cluster import driver_process, join
from koco.client import context_file
from koco.client.context_file import LOCAL, Context
from koco.control.backup import archive
from koco.errors import KocoError
from koco.store.store import Store
from tests.support import object_storage, postgres
from tests.support.api_server import serving
from tests.unit.conftest import Cli

FREE = ("up", "--free-ports")


@pytest.fixture(autouse=True)
def orders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Return the orders of a new home; each is refused, so that no Ray starts."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    found: list[dict[str, Any]] = []

    def carry_out(order: dict[str, Any], **_: Any) -> dict[str, Any]:
        found.append(order)
        raise KocoError("no Ray in this test")

    monkeypatch.setattr(driver_process, "carry_out", carry_out)
    monkeypatch.setattr(join, "joinable", lambda *_, **__: "")  # whatever else runs here
    return found


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a store whose admin key is `root`."""
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data") as api:
        api.admit("root", "admin")
        with api.http("root") as client:
            (tmp_path / "koco.backup").write_bytes(client.post("/v1/backup").content)
    assert archive.read(tmp_path / "koco.backup")
    return tmp_path / "koco.backup"


def test_a_store_may_be_a_database(cli: Cli, orders: list[dict[str, Any]], tmp_path: Path) -> None:
    """It must be there. Its URL has no password."""
    url = postgres.databases().url(tmp_path)
    away = cli(*FREE, "--store", url.replace("/t_", "/no_"))
    assert (away.code, len(orders)) == (1, 0)
    assert "`createdb` makes one" in away.err
    cli(*FREE, "--store", url)
    assert orders[0]["asked"]["store"] == url
    refused = cli(*FREE, "--store", "postgresql://koco:sesame@db.example.com/koco")
    assert (refused.code, len(orders)) == (2, 1)
    assert "~/.pgpass" in refused.err
    assert "sesame" not in refused.err


def test_several_processes_need_a_database(
    cli: Cli, orders: list[dict[str, Any]], tmp_path: Path
) -> None:
    """It is said before anything starts."""
    refused = cli(*FREE, "--api", "3")
    assert (refused.code, len(orders)) == (2, 0)
    assert "`--store postgresql://…`" in refused.err
    assert "`--api 1`" in refused.err
    cli(*FREE, "--api", "3", "--store", postgres.databases().url(tmp_path))
    assert orders[0]["asked"]["api"] == 3


def test_blobs_may_be_in_a_bucket(
    cli: Cli,
    backup: Path,
    orders: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried before anything starts, and its keys are kept in the data directory."""
    place = f"s3://{object_storage.BUCKET}/koco"
    with object_storage.serving(tmp_path) as storage:
        for name, value in storage.variables.items():
            monkeypatch.setenv(name, value)
        ran = cli(*FREE, "--blobs", f"{place}/")
        assert orders[0]["asked"]["blobs"] == place, ran.err
        assert object_storage.SECRET not in str(orders[0])
        kept = driver_process.data_dir() / "s3.json"
        assert object_storage.SECRET in kept.read_text()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        data = str(tmp_path / "new")
        cli(*FREE, "--blobs", place, "--restore", str(backup), "--data-dir", data)
        assert len(orders) == 2 and not (tmp_path / "new" / "blobs").exists()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")  # as in the process that uses Ray
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        cli(*FREE, "--blobs", place)
        assert len(orders) == 3 and object_storage.SECRET in kept.read_text()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", object_storage.KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        refused = cli(*FREE, "--blobs", place)
        assert (refused.code, len(orders)) == (2, 3)
        assert "does not accept the secret key (SignatureDoesNotMatch)" in refused.err
        assert object_storage.SECRET in kept.read_text()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", object_storage.SECRET)
        refused = cli(*FREE, "--blobs", "s3://missing-bucket/koco")
        assert (refused.code, "has no such bucket" in refused.err) == (2, True)
    away = cli(*FREE, "--blobs", place)
    assert (away.code, "cannot be reached" in away.err, len(orders)) == (3, True, 3)


def test_blobs_may_be_in_another_directory(
    cli: Cli, orders: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which koco can write to; without its library, a bucket is refused."""
    cli(*FREE, "--blobs", str(tmp_path / "shared"))
    assert orders[0]["asked"]["blobs"] == str(tmp_path / "shared")
    (tmp_path / "file").write_text("")
    refused = cli(*FREE, "--blobs", str(tmp_path / "file" / "blobs"))
    assert (refused.code, "cannot keep blobs in" in refused.err) == (2, True)
    refused = cli(*FREE, "--blobs", "s3://key:sesame@bucket")
    assert (refused.code, "sesame" in refused.err, len(orders)) == (2, False, 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = cli(*FREE, "--blobs", "s3://bucket")
    assert (refused.code, "koco-deploy[s3]" in refused.err) == (2, True)


def test_a_backup_is_restored_into_a_database(
    cli: Cli, backup: Path, orders: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Its admin key is replaced only if the context has none of the backup's keys."""
    url = postgres.databases().url(tmp_path)
    ran = cli(*FREE, "--store", url, "--restore", str(backup))
    assert "has no key of the backup" in ran.err
    assert orders[0]["recover"] is True
    refused = cli(*FREE, "--store", url, "--restore", str(backup))
    assert (refused.code, len(orders)) == (2, 1)
    assert "--replace-store" in refused.err
    context_file.forget_begun(LOCAL)
    know("root")
    ran = cli(*FREE, "--store", url, "--restore", str(backup), "--replace-store")
    assert "the former store is now in the schema koco_before_restore_" in ran.err
    assert orders[1]["recover"] is False


def know(key: str) -> None:
    context_file.save_context(Context(LOCAL, "http://127.0.0.1:1", key))


def test_a_new_machine_gets_a_new_admin_key(
    cli: Cli, backup: Path, orders: list[dict[str, Any]]
) -> None:
    """Whoever has the file has all secrets; a note says what happens to the key."""
    ran = cli(*FREE, "--restore", str(backup))
    assert "the context 'local' has no key of the backup: its admin key is replaced" in ran.err
    assert orders[0]["recover"] is True


def test_a_machine_with_another_store_gets_a_new_admin_key(
    cli: Cli, backup: Path, orders: list[dict[str, Any]]
) -> None:
    """Its context's key is not one of the backup."""
    know("other")
    cli(*FREE, "--restore", str(backup))
    assert orders[0]["recover"] is True


def test_a_known_admin_key_stays(cli: Cli, backup: Path, orders: list[dict[str, Any]]) -> None:
    """A restore where the backup was made changes no key."""
    know("root")
    ran = cli(*FREE, "--restore", str(backup))
    assert "admin key" not in ran.err
    assert orders[0]["recover"] is False


def test_an_unknown_admin_key_is_refused_before_ray_starts(
    cli: Cli, backup: Path, orders: list[dict[str, Any]]
) -> None:
    """A context that lost its key is told about --recover-admin at once, and that works."""
    store = str(backup.parent / "data")
    ran = cli(*FREE, "--data-dir", store)
    assert (ran.code, orders) == (6, [])
    assert f"the store in {store} has an admin key that the context 'local' does not" in ran.err
    assert "`koco up --recover-admin`" in ran.err
    cli(*FREE, "--data-dir", store, "--recover-admin")
    assert orders[0]["recover"] is True


def test_a_store_without_keys_takes_the_first_one(
    cli: Cli, tmp_path: Path, orders: list[dict[str, Any]]
) -> None:
    """An earlier start may have ended before it had a key."""

    async def make() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        await store.close()

    asyncio.run(make())
    cli(*FREE, "--data-dir", str(tmp_path))
    assert [each["recover"] for each in orders] == [False]


def test_a_store_and_blobs_are_not_left_behind(
    cli: Cli, orders: list[dict[str, Any]], tmp_path: Path
) -> None:
    """An empty database, or an empty directory for blobs, is refused if there are others so far."""
    data_dir = driver_process.data_dir()

    async def use() -> None:
        store = Store.at(data_dir / "store.db")
        await store.open()
        await store.close()

    asyncio.run(use())
    (data_dir / "blobs" / "aa").mkdir(parents=True)
    (data_dir / "blobs" / "aa" / ("a" * 64)).write_bytes(b"bundle")
    server = postgres.databases().server
    name = f"empty_{abs(hash(tmp_path))}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        url = server.url(name)
        refused = cli(*FREE, "--store", url)
        assert (refused.code, len(orders)) == (2, 0)
        assert f"`koco store copy --from {data_dir}/store.db --to {url}`" in refused.err
        refused = cli(*FREE, "--blobs", str(tmp_path / "elsewhere"))
        assert (refused.code, len(orders)) == (2, 0)
        assert f"`koco blobs copy --from {data_dir}/blobs --to {tmp_path}/elsewhere`" in refused.err
        cli(*FREE, "--store", url, "--data-dir", str(tmp_path / "other"))
        assert len(orders) == 1
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
