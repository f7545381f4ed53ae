"""Takes launches from the control plane's socket, many at once.

A question for launches stands at the control plane until there are any: nothing polls. Where there
is no socket, or no control plane at it that knows the question, launches come by calls of the
actor; each of them is an occasion to try the socket again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from koco.runner.spec import Intake as Asked
from koco.sdk.process.local_socket import LocalSocket


class Intake:
    """Asks for launches of one runner. `begin` begins one; if it returns False, the control plane
    calls the actor.
    """

    def __init__(
        self, runner: str, socket: LocalSocket, begin: Callable[[bytes], Awaitable[bool]]
    ) -> None:
        self._runner = runner
        self._socket = socket
        self._begin = begin
        self._again = asyncio.Event()

    def try_again(self) -> None:
        """Try the socket again, because a control plane has called the actor."""
        self._again.set()

    async def run(self) -> None:
        """Take launches, for ever."""
        begun: list[str] = []
        refused: list[str] = []
        while True:
            self._again.clear()
            asked = Asked(runner=self._runner, begun=begun, refused=refused)
            answer = await self._socket.call("take", msgspec.msgpack.encode(asked))
            begun, refused = [], []
            if answer is None:
                await self._again.wait()
                # A control plane that is back at once would wait for the next launch otherwise.
                await self._socket.may_connect()
                continue
            for fid, blob in msgspec.msgpack.decode(answer, type=list[tuple[str, bytes]]):
                (begun if await self._begin(blob) else refused).append(fid)
