"""Streams are counted, and end when their key does."""

import asyncio
import time
from collections.abc import Awaitable

import pytest

from koco.control.access.caller import Caller
from koco.control.access.open_streams import Streams
from koco.control.access.rate_limit import Rates
from koco.control.settings import Settings
from koco.errors import TooManyError, UnauthorizedError, UnreachableError

ADA = Caller(name="ada", credential="key:ada")
BOB = Caller(name="bob", credential="key:bob")


async def waiting(streams: Streams, caller: Caller) -> None:
    """Keep a stream open for ever, as one that waits for events does."""
    with streams.open(caller):
        await asyncio.Event().wait()


async def begun(work: Awaitable[None]) -> "asyncio.Task[None]":
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def outcome(task: "asyncio.Task[None]") -> BaseException | None:
    await asyncio.wait({task}, timeout=60)
    return task.exception()


def test_each_key_has_a_limit() -> None:
    """The error names the setting and its value. A stream that ends makes room."""

    async def scenario() -> None:
        streams = Streams(Settings(max_streams_per_key=1, max_streams=2))
        first = await begun(waiting(streams, ADA))
        with pytest.raises(TooManyError, match="max_streams_per_key is 1") as refused:
            await waiting(streams, ADA)
        assert refused.value.headers == {"Retry-After": "5"}
        with streams.open(BOB), pytest.raises(TooManyError, match="max_streams is 2"):
            await waiting(streams, Caller(name="cleo", credential="session:1"))
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled() and len(streams) == 0
        with streams.open(ADA):
            assert len(streams) == 1

    asyncio.run(scenario())


def test_there_is_always_room_for_another_holder() -> None:
    """No key, and no group of keys, may have more open than stay free."""

    async def scenario() -> None:
        streams = Streams(Settings(max_streams_per_key=100, max_streams=100))
        opened = []
        for name in ("ada", "bob", "cleo"):
            caller = Caller(name=name, credential=f"key:{name}")
            opened.append(0)
            while not (task := await begun(waiting(streams, caller))).done():
                opened[-1] += 1
            assert isinstance(task.exception(), TooManyError)
        assert opened == [50, 25, 13]
        with streams.open(Caller(name="dan", credential="key:dan")):
            pass

    asyncio.run(scenario())


def test_revoking_a_key_ends_all_its_streams_at_once() -> None:
    """Wherever they wait. Streams of others continue."""

    async def scenario() -> None:
        streams = Streams(Settings())
        of_ada = [await begun(waiting(streams, ADA)) for _ in range(2)]
        of_bob = await begun(waiting(streams, BOB))
        streams.end("key:ada")
        for task in of_ada:
            assert isinstance(await outcome(task), UnauthorizedError)
        assert not of_bob.done() and len(streams) == 1
        of_bob.cancel()

    asyncio.run(scenario())


def test_a_stream_ends_when_its_key_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it was opened before."""
    monkeypatch.setattr("koco.control.access.open_streams._LOOK_S", 0.02)

    async def scenario() -> None:
        streams = Streams(Settings())
        expiring = Caller(name="ada", credential="key:ada", expires=time.time() + 0.05)
        task = await begun(waiting(streams, expiring))
        assert isinstance(await outcome(task), UnauthorizedError)
        assert len(streams) == 0

    asyncio.run(scenario())


def test_a_caller_who_loses_access_before_the_stream_begins_gets_none() -> None:
    """Reading the body may take long after the guard has run."""

    async def scenario() -> None:
        streams = Streams(Settings())
        before = Caller(name="ada", credential="key:ada")
        streams.end("key:ada")
        with pytest.raises(UnauthorizedError):
            await waiting(streams, before)
        with streams.open(Caller(name="ada", credential="key:ada")), streams.open(BOB):
            assert len(streams) == 2

    asyncio.run(scenario())


def test_all_streams_end_if_it_was_missed_whose_access_has_ended() -> None:
    """They are told to try again, which those succeed with whose access has not."""

    async def scenario() -> None:
        streams = Streams(Settings())
        before = Caller(name="bob", credential="key:bob")
        task = await begun(waiting(streams, ADA))
        streams.end_all()
        assert isinstance(await outcome(task), UnreachableError)
        with pytest.raises(UnreachableError):
            streams.require(before)
        streams.require(Caller(name="bob", credential="key:bob"))

    asyncio.run(scenario())


def test_a_users_sessions_share_one_limit() -> None:
    """Another login gives neither more streams nor more requests."""

    async def scenario() -> None:
        settings = Settings(max_streams_per_key=1, key_requests_per_s=0.1)
        streams, rates = Streams(settings), Rates(settings)
        first, second = (Caller(name="eve", credential=f"session:{n}") for n in "12")
        with streams.open(first), pytest.raises(TooManyError, match="'eve' has 1 stream open"):
            await waiting(streams, second)
        rates.take(first)
        with pytest.raises(TooManyError, match="key_requests_per_s"):
            rates.take(second)

    asyncio.run(scenario())
