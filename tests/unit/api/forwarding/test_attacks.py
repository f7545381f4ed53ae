"""Attacks on several processes of one control plane, by callers and by whoever is in between."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from koco.store.keys import credential
from koco.store.model import AuditQuery, News, Topic
from tests.support.api_server import Api
from tests.support.processes import processes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api]]:
    with processes(tmp_path_factory.mktemp("attacks")) as found:
        found[0].admit("root", "admin")
        yield found


@pytest.fixture
def ended(both: tuple[Api, Api]) -> Callable[[str], threading.Event]:
    """Follows changes at the process that does not lead; the event says that the stream ended."""
    _, follower = both

    def follow(key: str) -> threading.Event:
        follower.admit(key, "read")
        event, before = threading.Event(), len(follower.parts.streams)

        def read() -> None:
            with follower.http(key) as client:
                with client.stream("GET", "/v1/changes?follow=true") as answer:
                    for _ in answer.iter_bytes():
                        pass
            event.set()

        threading.Thread(target=read, daemon=True).start()
        while len(follower.parts.streams) == before:
            time.sleep(0.01)
        return event

    return follow


def test_a_revoked_key_ends_its_streams_where_the_news_of_it_was_lost(
    both: tuple[Api, Api], ended: Callable[[str], threading.Event]
) -> None:
    """The connection that listens breaks, and the key is revoked before there is another one."""
    leader, follower = both
    gone = ended("gone")
    engine = follower.parts.store.engine
    listener: Any = engine._listener
    connect, may_connect = listener._connect, threading.Event()

    def late() -> Any:
        may_connect.wait(20)
        return connect()

    listener._connect = late
    pid = listener._db.raw.info.backend_pid
    leader.sql(f"SELECT pg_terminate_backend({pid})")
    with leader.http("root") as client:
        assert client.delete("/v1/keys/gone").status_code in (200, 204)
    assert not gone.wait(0.5)
    may_connect.set()
    assert gone.wait(10)
    listener._connect = connect


def test_a_revoked_key_ends_its_streams_however_much_is_committed_with_it(
    both: tuple[Api, Api], ended: Callable[[str], threading.Event]
) -> None:
    """Changes are committed together, and a notification of PostgreSQL has 8,000 bytes."""
    leader, _ = both
    gone = ended("crowded")

    def much(db: Any) -> None:
        db.touched.update(f"{number:016}" for number in range(1000))
        db.execute("DELETE FROM keys WHERE name = 'crowded'")
        db.news.append(News(Topic.ACCESS, "", credential("crowded")))

    leader.call(leader.parts.store.engine.write(much))
    assert gone.wait(5)


def test_a_client_cannot_have_the_proof_of_its_address_dropped(both: tuple[Api, Api]) -> None:
    """Headers that `Connection` names are dropped on the way, but only the client's own."""
    leader, follower = both
    leader.parts.settings.change({"trusted_proxies": ["127.0.0.1"]})  # as if the other process were
    headers = {"Connection": "koco-passed-on", "X-Forwarded-For": "6.6.6.6", "X-Request-ID": "drop"}
    with follower.http() as client:
        assert client.delete("/v1/keys/root", headers=headers).status_code == 403
    leader.parts.settings.change({"trusted_proxies": []})
    page = leader.call(leader.parts.store.audit.page(AuditQuery()))
    entry = next(each for each in page.items if each.request == "drop")
    assert entry.address == "127.0.0.1"


def test_guesses_of_a_password_are_counted_once_for_all_processes(both: tuple[Api, Api]) -> None:
    leader, _ = both
    user = {"name": "cleo", "password": "correct horse battery", "scopes": ["read"]}
    with leader.http("root") as client:
        assert client.post("/v1/users", json=user).status_code == 201
    codes = []
    for number in range(6):
        with both[number % 2].http() as client:
            login = {"name": "cleo", "password": f"guess {number}"}
            codes.append(client.post("/v1/session", json=login).status_code)
    assert codes == [401] * 5 + [429]
