"""Streams over many executions go on where a broken connection left them."""

import json
from collections.abc import Callable

import pytest

from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import AnswerError
from tests.unit.client.test_client import Request, Server, serve

__all__ = ["serve"]


def event(fid: str, seq: int) -> bytes:
    body = {"fid": fid, "flow": "a/b", "seq": seq, "ts": "t", "kind": "stdout", "payload": ""}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def mark(cursor: str, *, end: bool = False) -> bytes:
    body = {"cursor": cursor, "end": end}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def played(
    serve: Callable[..., Server], *connections: tuple[bytes, ...]
) -> tuple[Client, list[str]]:
    """Return a client, and the cursors that it will send, one for each connection."""
    cursors: list[str] = []

    def handle(request: Request) -> None:
        lines = connections[len(cursors)]
        cursors.append(request.headers["Last-Event-ID"] or "")
        request.begin()
        for line in lines:
            request.piece(line)
        if len(cursors) < len(connections):
            request.drop()
        else:
            request.finish_pieces()

    server = serve(handle)
    return Client(Context("x", f"http://127.0.0.1:{server.port}", "k")), cursors


def test_goes_on_from_the_last_mark_without_repeating(serve: Callable[..., Server]) -> None:
    """What came after that mark comes again, and is left out."""
    client, cursors = played(
        serve,
        (mark("c1"), event("f", 1), mark("c2"), event("f", 2), event("g", 1), b'{"fid":"f","fl'),
        (event("g", 1), event("f", 2), event("f", 3), mark("c3", end=True)),
    )
    found = [(each.fid, each.line) for lines in client.stream_many() for each in lines]
    assert [(fid, json.loads(line)["seq"]) for fid, line in found] == [
        ("f", 1),
        ("f", 2),
        ("g", 1),
        ("f", 3),
    ]
    assert cursors == ["", "c2"]


def test_a_mark_before_what_was_seen_repeats_nothing(serve: Callable[..., Server]) -> None:
    """The next connection may mark places that the former one had passed."""
    client, cursors = played(
        serve,
        (mark("c1"), event("f", 1), event("f", 2), event("f", 3)),
        (event("f", 1), mark("c2"), event("f", 2)),
        (event("f", 2), event("f", 3), mark("c3"), event("f", 4), mark("c4", end=True)),
    )
    found = [json.loads(each.line)["seq"] for lines in client.stream_many() for each in lines]
    assert (found, cursors) == ([1, 2, 3, 4], ["", "c1", "c2"])


def test_a_search_that_is_not_complete_is_continued(serve: Callable[..., Server]) -> None:
    """Until a mark says that this is all."""
    cursors: list[str] = []

    def handle(request: Request) -> None:
        cursors.append(request.headers["Last-Event-ID"] or "")
        request.begin()
        request.piece(event("f", len(cursors)))
        request.piece(mark(f"c{len(cursors)}", end=len(cursors) == 3))
        request.finish_pieces()

    server = serve(handle)
    stream = Client(Context("x", f"http://127.0.0.1:{server.port}", "k")).stream_many(contains="x")
    assert sum(map(len, stream)) == 3
    assert cursors == ["", "c1", "c2"]


@pytest.mark.parametrize(
    "line", [b'{"cursor":7}\n', b'{"seq":1}\n', b"[]\n", b'{"fid":1,"seq":2}\n']
)
def test_refuses_what_is_no_event_of_many(serve: Callable[..., Server], line: bytes) -> None:
    """An error that names the server, and no traceback."""
    client, _ = played(serve, (line, mark("c", end=True)))
    with pytest.raises(AnswerError):
        list(client.stream_many())
