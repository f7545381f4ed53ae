"""Keys."""

from collections.abc import Callable

import msgspec

from koco.store.model import (
    Key,
)
from koco.store.store import Store
from tests.support.stores import Check


def test_finds_a_key_by_its_digest(check: Callable[[Check], None]) -> None:
    """A key with the same name replaces it."""

    async def body(store: Store) -> None:
        assert not await store.keys.exist()
        old = Key(name="admin", digest=b"1" * 32, scopes=("admin",), created="")
        await store.keys.put(old)
        new = {"digest": b"2" * 32, "scopes": ("read", "launch"), "flows": ("svc/*",)}
        await store.keys.put(msgspec.structs.replace(old, **new, former=b"3" * 32))
        assert await store.keys.exist()
        assert await store.keys.find(b"1" * 32) is None
        key = await store.keys.find(b"2" * 32)
        assert key is not None
        assert (key.scopes, key.flows) == (("read", "launch"), ("svc/*",))
        assert await store.keys.find(b"3" * 32) == key

    check(body)
