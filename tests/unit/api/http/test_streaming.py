"""Streaming answers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from koco.api.http.streaming import WholeStream
from koco.control.access.caller import NOBODY
from koco.control.access.open_streams import Streams
from koco.control.settings import Settings


def test_a_piece_is_not_kept_while_the_next_one_is_waited_for() -> None:
    """A client that reads slowly costs one piece of memory, and not two."""
    kept: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            piece = bytes([number]) * 100
            unsent = sys.getrefcount(piece)
            yield piece
            kept.append(sys.getrefcount(piece) - unsent)

    async def receive() -> Any:
        await asyncio.Event().wait()

    sent = bytearray()

    async def send(message: Any) -> None:
        sent.extend(message.get("body", b""))

    request: Any = SimpleNamespace(parts=SimpleNamespace(streams=Streams(Settings())), auth=NOBODY)
    stream = WholeStream(request, pieces(), media_type="application/json")
    asyncio.run(stream.to_asgi_response(None, request)({}, receive, send))
    assert (kept, bytes(sent)) == ([0, 0, 0], b"\0" * 100 + b"\1" * 100 + b"\2" * 100)
