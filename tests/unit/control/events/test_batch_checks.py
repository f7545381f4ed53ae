"""What services send as events: stored where it is what a runner sends, else refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco.control.events import batch_checks
from koco.control.events.chunk_reader import NDJSON, SSE, Wanted
from koco.control.events.spooler import Spooler
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Ack, Batch
from koco.store.model import Filter, NewExecution
from koco.store.store import Store

GOOD = line.encode(Kind.STDOUT, "hello")
STAMP = line.timestamp()


def batch(*lines: bytes, **more: Any) -> Batch:
    about = {"fid": "f", "producer": "p", "first": 1, "count": len(lines), **more}
    return Batch(**{"body": b"\n".join(lines), **about})


@pytest.mark.parametrize(
    "sound",
    [
        batch(GOOD),
        batch(GOOD, GOOD, first=7),
        batch(line.encode(Kind.RESULT, {"a": ["b\n", None]}, task='a "task"\n')),
        batch(line.encode(Kind.RESULT, 1, task='\\"' * 500_000), GOOD),
        batch(line.encode(Kind.FINAL, "\u2028"), runner="r", status=Status.FINISHED),
        batch(runner="r", status=Status.RUNNING),
        batch(line.with_member(GOOD, "at", b"1.2/fetch_page-2:0"), GOOD),
        batch(line.with_member(GOOD, "at", b"~pipe")),
        batch(line.encode(Kind.DEBUG, "x" * 1_000_000)),
    ],
)
def test_accepts_what_a_runner_sends(sound: Batch) -> None:
    """Lines, the status at their end, lines of tasks, long lines."""
    assert batch_checks.fault_of(sound) is None


def forged(kind: str, payload: bytes = b"1", end: bytes = b"}") -> bytes:
    return b'"ts":"%b","kind":"%b","payload":%b%b' % (STAMP.encode(), kind.encode(), payload, end)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (batch(GOOD, count=3), "claims 3 events but has 1"),
        (batch(GOOD, GOOD, count=1), "claims 1 events but has 2"),
        (batch(GOOD, count=0), "has text but no events"),
        (batch(count=1), "not an event"),
        (batch(b"not json"), "not an event: 'not json'"),
        (batch(GOOD, b""), "not an event: ''"),
        (batch(GOOD[:-1]), "not JSON"),
        (batch(GOOD + b"}"), "not JSON"),
        (batch(GOOD + b",{" + GOOD), "not JSON"),
        (batch(forged("stdout", b"[1"), forged("stdout", b"2]}")), "not JSON"),
        (batch(forged("stdout", b"[1\n,2]"), count=1), "not an event"),
        (batch(forged("stdout", b"NaN")), "not JSON"),
        (batch(forged("stdout", b'"\xff"')), "not JSON"),
        (batch(forged("stdout", b"[" * 100_000)), "not JSON"),
        (batch(forged("status", b'{"status":"finished"}')), "not an event"),
        (batch(forged("meta", b"{}")), "not an event"),
        (batch(forged("")), "not an event"),
        (batch(b'"kind":"stdout","ts":"%b","payload":1}' % STAMP.encode()), "not an event"),
        (batch(b'"ts":"%b","kind":"stdout","x":1}' % STAMP.encode()), "not an event"),
        (batch(b'"seq":9,' + GOOD), "not an event"),
        (batch(GOOD, first=0), "numbered 0"),
        (batch(GOOD, first=-5), "numbered -5"),
        (batch(GOOD, first=2**62), "numbered"),
        (batch(GOOD, count=-1), "-1 of them"),
        (batch(GOOD, producer="p" * 1000), "1000 characters"),
        (batch(GOOD, status=Status.FINISHED), "does not come from a runner"),
        (batch(status=Status.RUNNING), "does not come from a runner"),
    ],
)
def test_refuses_batches_that_cannot_be_read(bad: Batch, said: str) -> None:
    """With the reason."""
    assert said in (batch_checks.fault_of(bad) or "it is taken")


BYTES = st.sampled_from(
    [b"\n", b'"', b"{", b"}", b",", b"[", b"]", b"\\", b" ", b"\r", b"\0", GOOD]
)


@given(st.lists(st.binary(max_size=3) | BYTES, max_size=6), st.data())
def test_every_accepted_batch_can_be_read(pieces: list[bytes], data: st.DataObject) -> None:
    """Random bytes in valid lines: all lines are events, or the batch is refused."""
    body = b"\n".join([GOOD] * 3)
    for piece in pieces:
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + piece + body[at:]
    count = body.count(b"\n") + 1
    if batch_checks.fault_of(batch(body=body, count=count)) is not None:
        return
    for seq, text in line.number_lines(1, body):
        event = line.decode(seq, text)
        assert event["kind"].encode() == line.kind_of(text)
        assert event["seq"] == seq or b'"seq"' in text
        assert "payload" in event


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = Store.at(path / "store.db")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _execution(store: Store, runner: str = "r1") -> Any:
    new = NewExecution(flow="s/f", service="s", release=1, inputs={"x": "findable"})
    execution, _ = await store.executions.create(new)
    await store.executions.assign(execution.fid, runner)
    await store.events.append([Batch(execution.fid, "own", 1, 0, b"", runner, Status.RUNNING)])
    return await store.executions.get(execution.fid)


def test_an_invalid_batch_affects_no_other(tmp_path: Path) -> None:
    """Its own runner's ends its execution, a stranger's nothing; the rest is stored."""

    async def main() -> None:
        async with opened(tmp_path) as store:
            spooler = Spooler(store)
            ended: list[str] = []
            spooler.on_final = ended.append
            mine, hers = await _execution(store), await _execution(store)
            sent = [
                Batch(mine.fid, "p", 1, 1, GOOD, "r1"),
                Batch(hers.fid, "x", 1, 3, GOOD, "r9", Status.FINISHED),
                Batch("nobody", "x", 1, 3, GOOD, "r9"),
                Batch(mine.fid, "q", 1, 3, GOOD, "r1", Status.FINISHED),
                Batch(hers.fid, "p", 1, 1, GOOD, "r1"),
            ]
            acks = wire.decode_acks(await spooler.append(wire.encode_batches(sent)))
            assert [ack.closed for ack in acks] == [False, True, True, True, False]
            assert (acks[0], acks[4]) == (Ack(1), Ack(1))
            assert (await store.executions.get(hers.fid)).status == "running"
            now = await store.executions.get(mine.fid)
            assert (now.status, ended) == ("error", [mine.fid])
            assert now.error is not None
            assert now.error.type == "BadEvents"
            with pytest.raises(msgspec.MsgspecError):
                await spooler.append(b"no batches")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("count", "body"),
    [(3, GOOD), (1, GOOD + b"\n" + GOOD), (2, b""), (1, b"no json\n\xff"), (2, GOOD + b"\n{")],
    ids=["too few", "too many", "nothing", "no text", "half a line"],  # else with the time of GOOD
)
def test_an_unreadable_row_stops_neither_streams_nor_search(
    tmp_path: Path, count: int, body: bytes
) -> None:
    """An older koco stored it. Everything around it is read and found."""

    async def main() -> None:
        async with opened(tmp_path) as store:
            spooler = Spooler(store)
            bad, good = await _execution(store), await _execution(store)
            odd = Batch(bad.fid, "p", 1, count, body, "r1", Status.FINISHED)
            # As it was before batches were looked at.
            await store.events.append([odd])
            last = Batch(
                good.fid, "p", 1, 1, line.encode(Kind.FINAL, "findable"), "r1", Status.FINISHED
            )
            await store.events.append([last])
            bad = await store.executions.get(bad.fid)
            for form in (NDJSON, SSE):
                for kinds in (frozenset[str](), frozenset({"stdout", "status"})):
                    wanted = Wanted(kinds, form, tells_end=True)
                    async with asyncio.timeout(10):
                        sent = [part async for part in spooler.follow(bad, wanted, heartbeat_s=9)]
                    assert b'"status":"finished"' in sent[-1]
            while await store.executions.index():
                pass
            page = await store.executions.page(Filter(search="findable"))
            assert good.fid in {each.fid for each in page.items}

    asyncio.run(main())
