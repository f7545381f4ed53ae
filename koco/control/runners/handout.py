"""Hands launches to this node's runners, which wait for them at the control plane's socket.

Much cheaper than a call of the runner's actor for each, and all that are there go in one answer.
The other end is `koco.runner.intake`. A runner on another node, or of an older koco, never asks:
its actor is called.
"""

import asyncio

import msgspec

from koco.runner.spec import Intake, Launch

#: How long a runner may take to confirm a launch until its actor is called instead (seconds). To
#: get a launch twice harms nothing.
_CONFIRMED_S = 1.0


class _Desk:
    """The launches for one runner."""

    def __init__(self) -> None:
        #: Whether it has asked, and has confirmed since what it was given.
        self.is_attended = True
        self.waiting: dict[str, bytes] = {}
        self.given: dict[str, asyncio.Future[bool]] = {}
        #: Its last question; set to None to answer it, or when another one follows.
        self.asking: asyncio.Future[None] | None = None

    def call(self) -> None:
        """Answer the question, if there is one."""
        asking, self.asking = self.asking, None
        if asking is not None and not asking.done():
            asking.set_result(None)


class Handout:
    """The launches for all runners that have asked for them."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}

    async def take(self, blob: bytes) -> bytes:
        """Return the next launches for the runner that asks, as soon as there are any.

        `blob` is an encoded `Intake`; the answer is a list of fids and encoded launches.
        """
        asked = msgspec.msgpack.decode(blob, type=Intake)
        desk = self._desks.setdefault(asked.runner, _Desk())
        desk.is_attended = True
        for fids, is_begun in ((asked.begun, True), (asked.refused, False)):
            for fid in fids:
                _settle(desk.given.get(fid), is_begun)
        desk.call()  # a former connection of it is broken
        if not desk.waiting:
            desk.asking = asking = asyncio.get_running_loop().create_future()
            await asking
        taken, desk.waiting = desk.waiting, {}
        return msgspec.msgpack.encode(list(taken.items()))

    async def give(self, runner: str, launch: Launch) -> bool:
        """Give a launch to a runner; False if its actor has to be called instead."""
        desk = self._desks.get(runner)
        if desk is None or not desk.is_attended:
            return False
        given: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        desk.waiting[launch.fid] = msgspec.json.encode(launch)
        desk.given[launch.fid] = given
        # In the next round of the loop, so that those that are given now go together.
        given.get_loop().call_soon(desk.call)
        try:
            async with asyncio.timeout(_CONFIRMED_S):
                return await given
        except TimeoutError:
            desk.is_attended = False  # until it asks again
            return False
        finally:
            desk.waiting.pop(launch.fid, None)
            del desk.given[launch.fid]

    def close(self, runner: str) -> None:
        """Forget a runner that has ended. What it has not confirmed is for its actor to refuse."""
        if (desk := self._desks.pop(runner, None)) is not None:
            desk.call()
            for given in desk.given.values():
                _settle(given, False)


def _settle(given: "asyncio.Future[bool] | None", is_begun: bool) -> None:
    if given is not None and not given.done():
        given.set_result(is_begun)
