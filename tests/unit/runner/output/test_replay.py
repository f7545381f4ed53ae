"""Events of a flow that runs again: each is stored once, and says where it was written."""

import asyncio
import os
import threading
from pathlib import Path

from koco.events import line
from koco.events.model import Kind
from koco.events.steps import marks_of
from koco.runner.output.lines import Output, patch_threads
from koco.runner.output.pipe_buffer import PipeFile
from koco.runner.output.replay import Replay
from koco.runner.output.spool import Spool
from koco.sdk.steps import places
from koco.sdk.steps.places import Branch, Tree
from tests.support.shelf import Shelf, event, spooled, until


def written_at(branch: Branch | None, replay: Replay, *texts: str) -> None:
    token = places.here.set(branch)
    try:
        for text in texts:
            replay.put("a", event(text))
    finally:
        places.here.reset(token)


async def stored(shelf: Shelf, count: int) -> list[tuple[str | None, object]]:
    await until(lambda: len(shelf.lines.get("a", ())) >= count)
    return [(line.place_of(text), line.decode(1, text)["payload"]) for text in shelf.lines["a"]]


def test_events_say_where_they_were_written() -> None:
    """Those of the flow's main task have no mark; threads' and pipes' have one of their own."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        replay, tree = Replay(spool.open("a", 1)), Tree()
        written_at(tree.main, replay, "main")
        written_at(tree.main.child(), replay, "first task")
        written_at(tree.main.child().child(), replay, "its task")
        written_at(tree.main.inside(places.Attempt("fetch:0", "fetch")), replay, "step")
        written_at(tree.unordered, replay, "thread")
        written_at(None, replay, "unknown")
        assert await stored(shelf, 6) == [
            ("", "main"),
            ("1", "first task"),
            ("2.1", "its task"),
            ("fetch:0", "step"),
            ("~", "thread"),
            ("~", "unknown"),
        ]

    spooled(body)


def test_stored_events_are_not_stored_again() -> None:
    """At each place the rest follows, whatever numbers the lines contain."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        replay, tree = Replay(spool.open("a", 1)), Tree()
        task = tree.main.child()
        before = [event("at 10:00"), event("two"), line.with_member(event("x"), "at", b"1")]
        replay.load(marks_of(before))
        written_at(task, replay, "x", "y")
        written_at(tree.main, replay, "at 10:30", "two", "three", "two")
        await replay.put_async("a", event("async"))
        assert await stored(shelf, 4) == [
            ("1", "y"),
            ("", "three"),
            ("", "two"),
            ("~", "async"),
        ]

    spooled(body)


def test_a_place_that_differs_stores_everything_from_there_on() -> None:
    """Also what was stored before: the flow does something else. Other places go on."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        replay, tree = Replay(spool.open("a", 1)), Tree()
        other = line.with_member(event("x"), "at", b"1")
        replay.load(marks_of([event("one"), event("two"), event("three"), other]))
        written_at(tree.main, replay, "one", "another", "three")
        written_at(tree.main.child(), replay, "x", "end")
        assert await stored(shelf, 3) == [("", "another"), ("", "three"), ("1", "end")]

    spooled(body)


def test_events_in_another_order_are_recognised() -> None:
    """If they are not further away than threads can be from each other."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        replay, tree = Replay(spool.open("a", 1)), Tree()
        texts = [chr(ord("a") + number % 26) * (number + 1) for number in range(200)]
        replay.load(marks_of(map(event, texts)))
        for at in range(0, 200, 50):
            written_at(tree.main, replay, *reversed(texts[at : at + 50]))
        written_at(tree.main, replay, "new")
        assert await stored(shelf, 1) == [("", "new")]

    spooled(body)


def test_printed_lines_are_recognised_and_those_of_pipes_are_not(tmp_path: Path) -> None:
    """A dropped line counts as kept, so the file of its pipe goes on."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        patch_threads()
        replay, tree = Replay(spool.open("a", 1)), Tree()
        output = Output(lambda kind, text: replay.put_line("a", kind, text, output))
        before = [line.encode(Kind.STDOUT, "printed"), line.encode(Kind.STDERR, "printed")]
        replay.load(marks_of(before))
        file, (reader, writer) = PipeFile(tmp_path, 2), os.pipe()
        done: list[bool] = []

        def read(*, is_piped: bool) -> None:
            os.write(writer, b"printed\n")
            output.write_bytes(Kind.STDERR, file.read(reader, 99), file, is_piped=is_piped)
            done.append(file.is_done)

        def flow() -> None:
            places.here.set(tree.main)
            output.write(Kind.STDOUT, "printed\n")
            read(is_piped=False)
            read(is_piped=True)
            output.write(Kind.STDOUT, "again\n")

        thread = threading.Thread(target=flow)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert await stored(shelf, 2) == [("~pipe", "printed"), ("", "again")]
        assert done == [True, True]

    spooled(body)
