"""Locks in the control plane: waiting, answering, expiring; a real store, no Ray."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koco.control.events.spooler import Spooler
from koco.control.executions.locks import Locks
from koco.control.executions.waiting.waiters import Waiters
from koco.control.services.endpoint_messages import Form
from koco.errors import ConflictError, InputsError, NotFoundError, UsageError
from koco.events.model import Status
from koco.events.wire import Batch
from koco.manifest.descriptions import AppHandlers
from koco.store.model import Answer, Execution, FailureEvent, Lock, NewExecution, Release
from koco.store.store import Store
from tests.support.releases import manifest

FORM = [
    {"type": "boolean", "name": "ok", "option": "Fine"},
    {"type": "date", "name": "day"},
    {"type": "submit", "text": "Send"},
]


class Owner:
    """A service's own endpoint: it doubles what it is given, once it is let."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.go = asyncio.Event()

    async def lock_form(self, release: Release, name: str, **asked: Any) -> Any:
        self.calls.append((name, asked))
        if name != "own":
            return None
        form = [{"type": "number", "name": "n"}]
        return Form(form=form, elements=[*form, {"type": "hr", "text": ""}])

    async def lease(self, release: Release, name: str, **asked: Any) -> Any:
        self.calls.append((name, asked))
        await self.go.wait()
        if asked["inputs"] == "bad":
            raise InputsError(n="not that one")
        return Answer(value=asked["inputs"] * 2)


class Plane:
    """What a control plane has of locks."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self.store = store
        self.spooler = Spooler(store)
        self.waiters = Waiters()
        self.locks = Locks(store, self.spooler, endpoints=owner, waiters=self.waiters)
        self.owner = owner

    async def begun(self) -> Execution:
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        execution, _ = await self.store.executions.create(new)
        await self.store.executions.assign(execution.fid, "r1")
        await self.store.events.append([Batch(execution.fid, "p", 1, 0, b"", "r1", Status.RUNNING)])
        return await self.store.executions.get(execution.fid)

    async def opened(
        self, execution: Execution, lid: str, name: str = "any", s: float = 60
    ) -> Lock:
        return await self.locks.open(execution.fid, lid, name=name, data={"n": 1}, timeout_s=s)


@asynccontextmanager
async def planes(path: Path) -> AsyncIterator[Callable[[], Awaitable[Plane]]]:
    """Give a function that starts a control plane over one store, in place of the one before."""
    started: list[Plane] = []

    async def start() -> Plane:
        if started:
            await started.pop().store.close()
        store = Store.at(path / "store.db")
        await store.open()
        if await store.releases.live("svc") is None:
            declared = manifest(locks={"review": FORM})
            await store.releases.create(
                "svc", bundle="", fingerprint="", manifest=declared, by="ada"
            )
            handlers = AppHandlers(locks=("own",), leases=("own",))
            await store.releases.go_live("svc", 1, [], handlers)
        started.append(Plane(store, Owner()))
        await started[0].locks.recover()
        return started[0]

    try:
        yield start
    finally:
        await started[0].store.close()


Body = Callable[[Plane], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    def run(body: Body) -> None:
        async def main() -> None:
            async with planes(tmp_path) as start:
                await asyncio.wait_for(body(await start()), 60)

        asyncio.run(main())

    return run


@pytest.mark.parametrize("answer", [None, False, 0, "", {}, [], {"ok": True}, "yes"])
def test_a_waiting_flow_gets_the_answer(check: Callable[[Body], None], answer: Any) -> None:
    """Any JSON value if the lock has no form, also falsy ones, with who answered."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        await plane.opened(execution, "l1")
        waiting = [asyncio.create_task(plane.locks.wait(execution.fid, "l1")) for _ in range(2)]
        await asyncio.sleep(0)
        await plane.locks.answer("l1", answer, by="ada")
        for lock in await asyncio.gather(*waiting):
            assert (lock.status, lock.answer, lock.by) == ("answered", answer, "ada")
        assert (await plane.locks.wait(execution.fid, "l1")).answer == answer
        assert plane.waiters.count == 0

    check(body)


def test_a_manifests_form_checks_the_answer(check: Callable[[Body], None]) -> None:
    """If a field is refused, the lock stays open. Values are typed; dates are text."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        lock = await plane.opened(execution, "l1", "review")
        assert [each["type"] for each in await plane.locks.form(lock, user="ada") or []] == [
            "boolean",
            "date",
            "submit",
        ]
        with pytest.raises(InputsError) as refused:
            await plane.locks.answer("l1", {"day": "soon", "more": 1}, by="ada")
        assert set(refused.value.errors) == {"day", "more"}
        with pytest.raises(InputsError):
            await plane.locks.answer("l1", None, by="ada")
        assert (await plane.store.locks.get("l1")).status == "open"
        answered = await plane.locks.answer("l1", {"ok": "on", "day": "2026-01-31"}, by="ada")
        assert answered.answer == {"ok": True, "day": "2026-01-31"}

    check(body)


def test_the_services_own_endpoint_handles_its_locks(check: Callable[[Body], None]) -> None:
    """It is asked only about the names that it handles."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        lock = await plane.opened(execution, "l1", "own")
        asked = {"data": {"n": 1}, "fid": execution.fid, "user": "ada"}
        assert await plane.locks.form(lock, user="ada") == [{"type": "number", "name": "n"}]
        elements = await plane.locks.elements(lock, user="ada")
        assert elements is not None
        assert elements[-1]["type"] == "hr"
        plane.owner.go.set()
        with pytest.raises(InputsError, match="not that one"):
            await plane.locks.answer("l1", "bad", by="ada")
        assert (await plane.locks.answer("l1", 21, by="ada")).answer == 42
        assert plane.owner.calls == [
            ("own", asked),
            ("own", asked),
            ("own", {"inputs": "bad", **asked}),
            ("own", {"inputs": 21, **asked}),
        ]
        other = await plane.opened(execution, "l2", "any")
        assert await plane.locks.form(other, user="ada") is None
        assert len(plane.owner.calls) == 4

    check(body)


def test_a_lease_runs_once_for_simultaneous_answers(check: Callable[[Body], None]) -> None:
    """The second answer waits for the first, and then comes too late."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        await plane.opened(execution, "l1", "own")
        tasks = [
            asyncio.create_task(plane.locks.answer("l1", number, by=f"user{number}"))
            for number in (1, 2)
        ]
        await asyncio.sleep(0.02)
        plane.owner.go.set()
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, Lock)
        assert first.answer == 2
        assert isinstance(second, ConflictError)
        assert "answered by user1" in second.message
        assert len(plane.owner.calls) == 1

    check(body)


def test_an_answer_counts_even_if_its_sender_disconnects(check: Callable[[Body], None]) -> None:
    """A lease that has begun runs to its end, and the flow gets its result."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        await plane.opened(execution, "l1", "own")
        request = asyncio.create_task(plane.locks.answer("l1", 1, by="ada"))
        await asyncio.sleep(0.02)
        request.cancel()
        plane.owner.go.set()
        assert (await plane.locks.wait(execution.fid, "l1")).answer == 2

    check(body)


def test_locks_expire_in_order_of_their_time(check: Callable[[Body], None]) -> None:
    """Whatever the order in which they were opened."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        for lid, seconds in (("l1", 60), ("l2", 0.5), ("l3", 0.0), ("l4", 0.05)):
            await plane.opened(execution, lid, s=seconds)
        order: list[str] = []

        async def wait(lid: str) -> None:
            lock = await plane.locks.wait(execution.fid, lid)
            assert lock.status == "expired"
            assert lock.expires <= time.time() < lock.expires + 20
            order.append(lid)

        await asyncio.gather(*(wait(lid) for lid in ("l2", "l3", "l4")))
        assert order == ["l3", "l4", "l2"]
        with pytest.raises(ConflictError, match="expired at"):
            await plane.locks.answer("l2", 1, by="ada")
        assert (await plane.store.locks.get("l1")).status == "open"

    check(body)


def test_a_restart_finds_open_locks(tmp_path: Path) -> None:
    """What expired meanwhile expires now, the others at their time."""

    async def main() -> None:
        async with planes(tmp_path) as start:
            plane = await start()
            execution = await plane.begun()
            for lid, seconds in (("past", 0.0), ("soon", 0.2), ("later", 60)):
                await plane.store.locks.open(
                    execution.fid, lid, name="any", data=None, expires=time.time() + seconds
                )
            plane = await start()
            assert (await plane.store.locks.get("past")).status == "expired"
            assert (await plane.locks.wait(execution.fid, "soon")).status == "expired"
            await plane.locks.answer("later", "here", by="ada")
            assert (await plane.locks.wait(execution.fid, "later")).answer == "here"

    asyncio.run(asyncio.wait_for(main(), 60))


def test_waiting_ends_with_the_execution(check: Callable[[Body], None]) -> None:
    """For a Ray task that its flow has left behind, for example. Other locks stay."""

    async def body(plane: Plane) -> None:
        execution, other = await plane.begun(), await plane.begun()
        await plane.opened(execution, "l1")
        await plane.opened(other, "l2")
        gone = asyncio.create_task(plane.locks.wait(execution.fid, "l1"))
        stays = asyncio.create_task(plane.locks.wait(other.fid, "l2"))
        await asyncio.sleep(0)
        await plane.store.executions.settle(
            execution.fid, Status.ERROR, FailureEvent(type="T", message="m")
        )
        plane.waiters.dismiss(execution.fid)
        with pytest.raises(ConflictError, match="the execution has ended"):
            await gone
        assert not stays.done()
        await plane.locks.withdraw(other.fid, "l2")
        with pytest.raises(ConflictError):
            await stays

    check(body)


def test_an_execution_cannot_touch_anothers_locks(check: Callable[[Body], None]) -> None:
    """Knowing a lock's id gives no access."""

    async def body(plane: Plane) -> None:
        execution, other = await plane.begun(), await plane.begun()
        await plane.opened(other, "l1")
        with pytest.raises(NotFoundError, match="has no lock 'l1'"):
            await plane.locks.wait(execution.fid, "l1")
        with pytest.raises(NotFoundError, match="has no lock 'l1'"):
            await plane.locks.withdraw(execution.fid, "l1")
        assert (await plane.store.locks.get("l1")).status == "open"

    check(body)


def test_finds_a_lock_by_id_name_or_prefix(check: Callable[[Body], None]) -> None:
    """A name means the open lock of that name, or the latest settled one."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        find = plane.locks.find

        async def found(name: str) -> str:
            return (await find(execution, name)).lid

        for lid, name in (("aa1", "one"), ("aa2", "two"), ("b3", "two"), ("b4", "aa")):
            await plane.opened(execution, lid, name)
        assert [await found(name) for name in ("aa1", "one", "aa", "b3")] == [
            "aa1",
            "aa1",
            "b4",
            "b3",
        ]
        for name in ("two", "b"):
            with pytest.raises(ConflictError, match="several locks") as several:
                await find(execution, name)
            assert "b3 (two)" in (several.value.hint or "")
        await plane.locks.answer("aa2", 1, by="ada")
        assert await found("two") == "b3"
        await plane.locks.answer("b3", 1, by="ada")
        assert await found("two") == "b3"
        for name in ("", "three"):
            with pytest.raises(NotFoundError) as none:
                await find(execution, name)
            assert none.value.hint == "open: one, aa"

    check(body)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("", 1), ("a b", 1), ("../x", 1), ("x" * 64, 1), ("x", -1), ("x", float("nan")), ("x", 1e9)],
)
def test_refuses_invalid_questions(
    check: Callable[[Body], None], name: str, seconds: float
) -> None:
    """Also those that do not come from koco's own tracer."""

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        with pytest.raises(UsageError):
            await plane.opened(execution, "l1", name, seconds)
        assert await plane.store.locks.all_of(execution.id) == []

    check(body)


def test_refuses_deeply_nested_data_and_answers(
    check: Callable[[Body], None],
) -> None:
    """They would break every list that shows them. The lock stays open."""
    deep: Any = "end"
    for _ in range(300):
        deep = {"x": [deep]}

    async def body(plane: Plane) -> None:
        execution = await plane.begun()
        with pytest.raises(UsageError, match="levels deep"):
            await plane.locks.open(execution.fid, "l1", name="a", data=deep, timeout_s=60)
        lock = await plane.opened(execution, "l2")
        with pytest.raises(UsageError, match="levels deep"):
            await plane.locks.answer(lock.lid, deep, by="ada")
        assert (await plane.store.locks.get("l2")).status == "open"
        await plane.locks.answer(lock.lid, [[[[1]]]], by="ada")

    check(body)


def test_finds_a_lock_by_id_without_reading_the_others(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among thousands it is as fast. Errors name only a few of them."""

    async def body(plane: Plane) -> None:
        execution, other = await plane.begun(), await plane.begun()
        for number in range(30):
            await plane.opened(execution, f"aa{number:02}", "many")
        await plane.opened(other, "elsewhere")
        with pytest.raises(ConflictError) as caught:
            await plane.locks.find(execution, "many")
        assert "aa09 (many) and 20 more" in (caught.value.hint or "")
        with pytest.raises(NotFoundError):
            await plane.locks.find(execution, "elsewhere")
        monkeypatch.setattr(plane.store.locks, "all_of", None)
        assert (await plane.locks.find(execution, "aa17")).lid == "aa17"

    check(body)
