"""The vault: secrets encrypted in the store, their key in a file beside it."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from koco.control.services.secrets import KEY_FILE, VALUE_BYTES, SecretError, Vault
from koco.errors import NotAllowedError, NotFoundError, UsageError
from koco.manifest.descriptions import AppHandlers
from koco.store.model import Release, ReleaseFailure, Sealed
from koco.store.store import Store
from tests.support.durable_executions import started
from tests.support.releases import manifest

VALUE = "sesame-open-7d1f"


def run(tmp_path: Path, work: Callable[[Vault, Store], Awaitable[Any]]) -> Any:
    async def inner() -> Any:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        try:
            return await work(Vault(store, tmp_path), store)
        finally:
            await store.close()

    return asyncio.run(inner())


def _stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("store.*"))


def test_a_value_can_be_read_and_is_in_no_file(tmp_path: Path) -> None:
    """Neither in the database nor in its log. The key's file belongs to its user."""

    async def work(vault: Vault, store: Store) -> str:
        assert await vault.put("TOKEN", VALUE, by="ada")
        assert not await vault.put("TOKEN", VALUE, by="ada")  # not a new one
        found = await asyncio.to_thread(_stored, tmp_path)
        assert VALUE.encode() not in found
        assert b"TOKEN" in found
        return await vault.value("TOKEN")

    assert run(tmp_path, work) == VALUE
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_equal_values_look_different_and_cannot_be_swapped(tmp_path: Path) -> None:
    """A row that is moved to another name cannot be decrypted."""

    async def work(vault: Vault, store: Store) -> None:
        await vault.put("A", VALUE, by="ada")
        await vault.put("B", VALUE, by="ada")
        first, second = await store.secrets.all()
        assert first.value != second.value
        await store.secrets.put(Sealed("B", first.value, first.updated, "mallory"))
        assert await vault.value("A") == VALUE
        with pytest.raises(SecretError, match="'B' was not encrypted with the key"):
            await vault.value("B")

    run(tmp_path, work)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"AAAA\n", b"x" * 44, b64encode(bytes(32))],
    ids=["gone", "empty", "short", "long", "another"],
)
def test_without_its_key_nothing_is_read_or_set(tmp_path: Path, content: bytes | None) -> None:
    """Each call says so, no second key is made, and removing all allows a new start."""
    key = tmp_path / KEY_FILE

    async def work(vault: Vault, store: Store) -> None:
        await vault.put("A", VALUE, by="ada")
        kept = key.read_bytes()
        if content is None:
            key.unlink()
        else:
            key.write_bytes(content)
        with pytest.raises(SecretError, match=r"secrets\.key"):
            await vault.value("A")
        [listed] = await vault.listing()
        assert "secrets.key" in (listed.trouble or "")
        with pytest.raises(SecretError):
            await vault.put("B", "another", by="ada")
        key.write_bytes(kept)
        assert await vault.value("A") == VALUE
        key.unlink()
        await vault.remove("A")
        await vault.put("B", "another", by="ada")
        assert await vault.value("B") == "another"

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("1A", "value"),
        ("KOCO_KEY", "value"),
        ("A", ""),
        ("A", "nul\0"),
        ("A", "\udc80"),
        ("A", "x" * (VALUE_BYTES + 1)),
    ],
    ids=["name", "koco's own", "empty", "NUL", "surrogate", "large"],
)
def test_refuses_values_that_no_variable_can_hold(tmp_path: Path, name: str, value: str) -> None:
    """And makes no key for them."""

    async def work(vault: Vault, store: Store) -> None:
        with pytest.raises(UsageError):
            await vault.put(name, value, by="ada")
        assert await store.secrets.all() == []

    run(tmp_path, work)
    assert not (tmp_path / KEY_FILE).exists()


def test_a_missing_secret_is_not_found(tmp_path: Path) -> None:
    """Reading it, and removing it."""

    async def work(vault: Vault, store: Store) -> None:
        with pytest.raises(NotFoundError, match="NONE"):
            await vault.value("NONE")
        with pytest.raises(NotFoundError):
            await vault.remove("NONE")
        assert await vault.last_set(["NONE"]) == ""

    run(tmp_path, work)


def test_a_failures_texts_are_masked(tmp_path: Path) -> None:
    """Serve shows a constructor's traceback and does not know the secrets."""
    fields: dict[str, Any] = dict.fromkeys(Release.__struct_fields__, "")
    declared = manifest(secrets=["TOKEN", "GONE"])
    release = Release(**{**fields, "number": 1, "manifest": declared})

    async def work(vault: Vault, store: Store) -> ReleaseFailure:
        await vault.put("TOKEN", VALUE, by="ada")
        return await vault.mask(release, ReleaseFailure(message=f"no {VALUE}", hint="h"))

    told = run(tmp_path, work)
    assert told == ReleaseFailure(message="no ********", hint="h")


def test_a_retired_release_that_is_awaited_has_its_secrets(tmp_path: Path) -> None:
    """Its endpoint answers the lock of a parked execution, though it has no runners."""

    async def work(vault: Vault, store: Store) -> None:
        await vault.put("TOKEN", VALUE, by="ada")
        declared = manifest(secrets=["TOKEN"])
        for _ in range(2):
            made = await store.releases.create(
                "svc", bundle="b", fingerprint="", manifest=declared, by=""
            )
            await store.releases.go_live("svc", made.number, [], AppHandlers(locks=("ok",)))
        assert await store.releases.retired_in_use() == []
        with pytest.raises(NotAllowedError):
            await vault.values_of("svc", 1, {})
        execution = await started(store)
        await store.locks.open(
            execution.fid, "l", name="ok", data=1, expires=4e9, key="lock.ok:0", position=1
        )
        assert [each.number for each in await store.releases.retired_in_use()] == [1]
        assert await store.executions.park(execution.fid, "r1", keys=[], lids=["l"])
        assert [each.number for each in await store.releases.retired_in_use()] == [1]
        assert await vault.values_of("svc", 1, {}) == {"TOKEN": VALUE}
        assert await vault.releases_in_need({}) == [("svc", 2), ("svc", 1)]

    run(tmp_path, work)
