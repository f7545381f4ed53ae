"""The end of an execution's output."""

import threading

from koco.events.model import Kind
from koco.runner.output.lines import Output


def test_output_without_a_rest_ends_at_once() -> None:
    """Whole lines are events already."""
    emitted: list[str] = []
    output = Output(lambda kind, text: emitted.append(text))
    output.write(Kind.STDOUT, "whole\n")
    assert output.finish_if_empty()
    assert not output.write(Kind.STDOUT, "late\n")
    assert emitted == ["whole"]


def test_a_rest_is_left_to_a_thread_that_may_wait() -> None:
    """To emit it may take as long as there is no room."""
    emitted: list[str] = []
    output = Output(lambda kind, text: emitted.append(text))
    output.write(Kind.STDOUT, "half")
    assert not output.finish_if_empty()
    assert output.write(Kind.STDOUT, " a line")
    output.finish()
    assert emitted == ["half a line"]
    half = Output(lambda kind, text: emitted.append(text))
    half.write_bytes(Kind.STDERR, "ü".encode()[:1])
    assert not half.finish_if_empty()


def test_a_writer_that_waits_for_room_does_not_stop_the_caller() -> None:
    """It holds the lock meanwhile, and the caller is the loop that makes room."""
    waits, room = threading.Event(), threading.Event()

    def emit(kind: Kind, text: str) -> None:
        waits.set()
        room.wait(20)

    output = Output(emit)
    writer = threading.Thread(target=output.write, args=(Kind.STDOUT, "left behind\n"))
    writer.start()
    assert waits.wait(20)
    assert not output.finish_if_empty()
    room.set()
    writer.join()
    assert output.finish_if_empty()
