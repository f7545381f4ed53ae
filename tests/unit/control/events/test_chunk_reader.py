"""Readers get events in pieces of a bounded size, whatever the events are."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from koco.control.events.chunk_reader import NDJSON, READ_BYTES, SSE, Form, Wanted
from koco.control.events.spooler import Spooler
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import Execution, NewExecution
from koco.store.store import Store

#: Payloads of one batch: long, short, and with ends of lines near those of what is read at once.
_LENGTHS = (3, READ_BYTES * 3, 7, READ_BYTES - 700, 1, 90, READ_BYTES, 0, 5)


def spooled(tmp_path: Path, body: Callable[[Store, Spooler, Execution], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        execution, _ = await store.executions.create(new)
        kinds = [Kind.STDOUT if i % 3 else Kind.STDERR for i in range(len(_LENGTHS))]
        lines = [line.encode(kind, "x" * size) for kind, size in zip(kinds, _LENGTHS, strict=True)]
        body_ = b"\n".join(lines)
        await store.events.append([Batch(execution.fid, "p", 1, len(lines), body_)])
        last = line.encode(Kind.RESULT, "y" * READ_BYTES * 2)
        batch = Batch(execution.fid, "p", len(lines) + 1, 1, last, status=Status.FINISHED)
        await store.events.append([batch])
        await body(store, Spooler(store), await store.executions.get(execution.fid))
        await store.close()

    asyncio.run(main())


def events_of(sent: bytes, form: Form) -> list[tuple[int, str, int]]:
    if form is SSE:
        blocks = [block.splitlines() for block in sent.decode().split("\n\n") if block]
        assert all(len(block) == 3 for block in blocks)
        events = [json.loads(data.removeprefix("data: ")) for _, _, data in blocks]
        for (number, kind, _), event in zip(blocks, events, strict=True):
            assert number == f"id: {event['seq']}" and kind == f"event: {event['kind']}"
    else:
        events = [json.loads(text) for text in sent.splitlines()]
    return [(event["seq"], event["kind"], len(str(event["payload"]))) for event in events]


@pytest.mark.parametrize("form", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_large_events_come_in_parts(tmp_path: Path, form: Form) -> None:
    """From any seq, of any kinds: the parts make up what was written."""

    async def body(store: Store, spooler: Spooler, execution: Execution) -> None:
        chunks = await store.events.after(execution.id, 0, budget_bytes=1 << 30)
        numbered = [pair for each in chunks for pair in line.number_lines(each.first, each.body)]
        decoded = [line.decode(*pair) for pair in numbered]
        whole = [(each["seq"], each["kind"], len(str(each["payload"]))) for each in decoded]
        for kinds in (frozenset[str](), frozenset({"stderr"}), frozenset({"result", "stdout"})):
            for since in range(execution.last_seq):
                wanted = Wanted(kinds, form, tells_end=True)
                pieces = [
                    piece
                    async for piece in spooler.follow(execution, wanted, since=since, heartbeat_s=9)
                ]
                assert max(map(len, pieces)) < READ_BYTES * 1.5
                assert events_of(b"".join(pieces), form) == [
                    each
                    for each in whole
                    if each[0] > since
                    and (not kinds or each[1] in kinds or each[0] == execution.last_seq)
                ]

    spooled(tmp_path, body)


def test_others_get_their_turn_during_a_long_search(tmp_path: Path) -> None:
    """A reader of a kind without events does not block the loop."""

    async def body(store: Store, spooler: Spooler, execution: Execution) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(other())
        wanted = Wanted(frozenset({"agent"}))
        async for piece in spooler.read(execution, wanted):
            assert not piece.data
        others.cancel()
        assert turns > 3

    spooled(tmp_path, body)


def test_finds_the_last_events_of_a_kind(tmp_path: Path) -> None:
    """The seq before them, however much is in between."""

    async def body(store: Store, spooler: Spooler, execution: Execution) -> None:
        last = execution.last_seq
        assert await spooler.tail(execution, 2) == last - 2
        assert await spooler.tail(execution, 10**6) == 0
        assert await spooler.tail(execution, 0, kinds=frozenset({"result"})) == last
        assert await spooler.tail(execution, 1, kinds=frozenset({"result"})) == last - 2
        assert await spooler.tail(execution, 2, kinds=frozenset({"stderr"})) == 3 + 3
        assert await spooler.tail(execution, 9, kinds=frozenset({"stderr"})) == 0

    spooled(tmp_path, body)


@pytest.mark.parametrize("form", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_format_fields_in_events_are_text(form: Form) -> None:
    """Lines are written with Python's format strings, which must not read a flow's text."""
    texts = ["100 %", "%d %b %(seq)s %%", "{} {0}"]
    sent = form.render(range(7, 10), [line.encode(Kind.STDOUT, text) for text in texts])
    events = [
        json.loads(text.removeprefix(b"data: ")) for text in sent.splitlines() if b"payload" in text
    ]
    assert [(each["seq"], each["payload"]) for each in events] == [
        *zip((7, 8, 9), texts, strict=True)
    ]
