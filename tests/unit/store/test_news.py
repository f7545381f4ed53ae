"""What changes tell other processes of a shared store, besides those of executions."""

import time
from collections.abc import Callable

import msgspec

from koco.events import line
from koco.store.model import (
    Key,
    LimitOverride,
    News,
    ReleaseFailure,
    Session,
    Topic,
    User,
)
from koco.store.store import Store
from tests.support.releases import manifest
from tests.support.stores import Check


def heard(store: Store) -> list[News]:
    news: list[News] = []
    store.listen(news.extend)
    return news


def test_tells_of_each_change_of_access(check: Callable[[Check], None]) -> None:
    """By the credentials whose streams are to end, in every process that has some."""

    async def body(store: Store) -> None:
        for name in ("ada", "eve"):
            await store.keys.add(
                Key(name=name, digest=name.encode(), scopes=("admin",), created=line.timestamp())
            )
        user = User(name="bob", password="x", scopes=("run",), created=line.timestamp(), by="ada")
        await store.users.add(user)
        sessions = [
            Session(digest=bytes([n]) * 32, user="bob", created="", expires=time.time() + 99)
            for n in range(4)
        ]
        news = heard(store)
        for each in sessions:
            assert await store.users.begin_session(each, verified="x", address="")
        await store.keys.note_use("ada", at="", address="")
        assert news == []

        def ended(*keys: str) -> bool:
            found = [each.key for each in news]
            assert {each.topic for each in news} == {Topic.ACCESS}
            news.clear()
            return sorted(found) == sorted(keys)

        await store.keys.rotate("eve", b"new", former_until=None)
        assert ended("key:eve")
        await store.keys.revoke("eve")
        assert ended("key:eve")
        await store.keys.put(Key(name="ada", digest=b"2", scopes=("admin",), created=""))
        assert ended("key:ada")
        await store.users.end_session(sessions[0].digest)
        assert ended(sessions[0].credential)
        await store.users.change("bob", lambda bob: msgspec.structs.replace(bob, email="b@c.de"))
        assert news == []
        await store.users.change("bob", lambda bob: msgspec.structs.replace(bob, scopes=("read",)))
        assert ended(*(each.credential for each in sessions[1:]))
        await store.users.set_password("bob", "y")
        assert ended(*(each.credential for each in sessions[1:]))
        assert await store.users.begin_session(sessions[0], verified="y", address="")
        await store.users.remove("bob")
        assert ended(sessions[0].credential)

    check(body)


def test_tells_of_changes_of_settings_limits_and_releases(
    check: Callable[[Check], None],
) -> None:
    """With the flow or the service that they concern."""

    async def body(store: Store) -> None:
        news = heard(store)

        async def make() -> int:
            about = {"bundle": "b", "fingerprint": "f", "manifest": manifest()}
            return (await store.releases.create("svc", by="me", **about)).number  # type: ignore[arg-type]

        failure = ReleaseFailure(message="no")

        def told(topic: Topic, key: str = "") -> bool:
            found = set(news)
            news.clear()
            return found == {News(topic, "", key)}

        await store.settings.put({"a": 1})
        assert told(Topic.SETTINGS)
        await store.settings.change({}, unset=["a"])
        assert told(Topic.SETTINGS)
        await store.settings.put_cursor("x", "1")
        assert news == []
        await store.limits.put(LimitOverride(flow="svc/flow", limits={}, by="me", since=""))
        assert told(Topic.LIMITS, "svc/flow")
        await store.limits.remove("svc/flow")
        assert told(Topic.LIMITS, "svc/flow")
        number = await make()
        assert told(Topic.RELEASES, "svc")
        await store.releases.go_live("svc", number, [])
        assert told(Topic.RELEASES, "svc")
        await store.releases.mark_broken("svc", number, failure)
        assert told(Topic.RELEASES, "svc")
        number = await make()
        news.clear()
        await store.releases.fail("svc", number, failure)
        assert told(Topic.RELEASES, "svc")
        await store.releases.fail("svc", number, failure)
        assert news == []
        await store.releases.undeploy("svc", failure, beside_running=True)
        assert told(Topic.RELEASES, "svc")

    check(body)
