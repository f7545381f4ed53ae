"""Whose request is next: bursts of one holder delay nobody else."""

import asyncio
import time
from collections import Counter

import pytest

from koco.control import fair_turns
from koco.control.fair_turns import Turn, Turns
from koco.control.server.request_owner import Holders
from koco.errors import TooManyError
from koco.store.model import Key
from koco.tokens import digest
from tests.support.driver import calm_s


async def take(mine: Turns, holder: str) -> Turn:
    """Wait for a turn, as a connection does."""
    taken: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
    mine.ask(holder, taken.set_result)
    turn = await taken
    fair_turns.current.set(turn)
    return turn


def test_others_pass_a_burst() -> None:
    """Of a thousand requests, a few are worked on at once; another holder's is next."""

    async def scenario() -> None:
        mine = Turns()
        done: list[str] = []
        most = under_way = 0

        async def request(holder: str) -> None:
            nonlocal most, under_way
            turn = await take(mine, holder)
            under_way += 1
            most = max(most, under_way)
            for _ in range(3):
                await asyncio.sleep(0)
            under_way -= 1
            turn.give_back()
            done.append(holder)

        burst = [asyncio.create_task(request("ada")) for _ in range(1000)]
        await asyncio.sleep(0)
        await request("bob")
        assert done.index("bob") < 50
        await asyncio.gather(*burst)
        assert len(done) == 1001
        assert most <= fair_turns._MOST + 1
        while mine._lines:
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_requests_that_never_wait_are_limited_per_round() -> None:
    """One that is done in a single step leaves room for others first."""

    async def scenario() -> None:
        mine, rounds = Turns(), Counter[int]()
        now = 0

        def work(turn: Turn) -> None:
            rounds[now] += 1
            turn.give_back()

        for _ in range(500):
            mine.ask("ada", work)
        while rounds.total() < 500:
            now += 1
            await asyncio.sleep(0)
        assert max(rounds.values()) <= fair_turns._MOST

    asyncio.run(scenario())


def test_fewer_run_at_once_if_each_takes_the_loop_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work that is ready at once makes others wait."""
    monkeypatch.setattr(fair_turns, "_LATE_S", 0.005)

    async def scenario() -> None:
        mine, least = Turns(), fair_turns._MOST

        async def request() -> None:
            nonlocal least
            turn = await take(mine, "ada")
            await asyncio.sleep(0)
            until = time.perf_counter() + 0.02
            while time.perf_counter() < until:
                pass
            turn.give_back()
            least = min(least, mine._at_once)

        await asyncio.gather(*(request() for _ in range(40)))
        assert least == 1

    asyncio.run(scenario())


def test_a_request_that_waits_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says that it waits, or loses its turn after a moment."""
    monkeypatch.setattr(fair_turns, "_LAPSE_S", 0.02)

    async def scenario() -> None:
        mine, never = Turns(), asyncio.Event()
        begun = 0

        async def request(*, says_so: bool) -> None:
            nonlocal begun
            await take(mine, "ada")
            begun += 1
            if says_so:
                fair_turns.yield_turn()
            await never.wait()

        for says_so in (True, False):
            begun, began = 0, calm_s()
            tasks = [asyncio.create_task(request(says_so=says_so)) for _ in range(20)]
            while begun < 20:
                await asyncio.sleep(0.002)
                assert calm_s() - began < 10
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_line_has_a_limit_and_leaving_it_takes_no_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One too many is refused. Nothing of a closed connection is left."""
    monkeypatch.setattr(fair_turns, "_LONGEST", 2)

    async def scenario() -> None:
        mine, gone = Turns(), []
        working = [await take(mine, "ada") for _ in range(fair_turns._MOST)]
        places = [mine.ask("ada", gone.append) for _ in range(2)]
        with pytest.raises(TooManyError) as refused:
            mine.ask("ada", gone.append)
        assert refused.value.http_status == 429
        for place in places:
            assert place
            place.leave()
            place.leave()
        for turn in working:
            turn.give_back()
            turn.give_back()
        while mine._lines:
            await asyncio.sleep(0)
        assert gone == []

    asyncio.run(scenario())


class _Keys:
    """A store with one key, and no session."""

    def __init__(self) -> None:
        self.keys = self.users = self

    async def find(self, shown: bytes) -> Key | None:
        good = digest("koco_good")
        return Key(name="ada", digest=good, scopes=(), created="") if shown == good else None

    async def find_session(self, shown: bytes) -> None:
        return None


@pytest.mark.parametrize(
    ("head", "holder"),
    [
        ("GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer koco_good\r\n\r\n", "key:ada"),
        ("GET /v1/me HTTP/1.1\r\nAUTHORIZATION:bearer   koco_good \r\nHost: x", "key:ada"),
        ("GET /v1/me HTTP/1.1\r\nAuthorization: Bearer koco_wrong\r\n\r\n", "address:1.2.3.4"),
        ("GET /v1/me HTTP/1.1\r\nCookie: koco_session=kocos_none\r\n\r\n", "address:1.2.3.4"),
        ("GET /flow HTTP/1.1\r\nKodosumi_Api_Key: koco_good\r\n\r\n", "key:ada"),
        ("GET /flow HTTP/1.1\r\nCookie: kodosumi_jwt=kocos_none\r\n\r\n", "address:1.2.3.4"),
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "/health"),
        ("POST / HTTP/1.1\r\n\r\n\r\nAuthorization: Bearer koco_good\r\n", "address:1.2.3.4"),
        ("GET", "address:1.2.3.4"),
        ("\r\nAuthorization:", "address:1.2.3.4"),
    ],
)
def test_the_first_bytes_identify_a_requests_holder(head: str, holder: str) -> None:
    """By its credential if that is valid, or else by its address."""
    store: object = _Keys()
    holders = Holders(store)  # type: ignore[arg-type]
    for _ in range(2):
        assert holders.of_bytes(head.encode(), "1.2.3.4") == holder
    assert Holders().of_bytes(head.encode(), "1.2.3.4") in ("address:1.2.3.4", "/health")
