"""The control plane: the detached Ray actor `control` in the namespace `koco`."""

from collections.abc import Callable
from typing import Any

from koco.control.container import Parts
from koco.control.process import Plane


class ControlPlane:
    """A `Plane` as Ray's actor.

    Whoever finds an actor by name imports its class and looks up each method that it had
    when it was started, private ones as well: where one is missing, no call works. So a
    control plane of an older koco is upgraded in place only while this class keeps its
    place and all methods that ever shipped, and it has none that others do not call.
    """

    def __init__(
        self,
        start: bytes,
        make_app: Callable[[Parts], Any],
        only_for_nodes: Callable[[Any], Any],
    ) -> None:
        self._plane = Plane(start, make_app, only_for_nodes)

    async def append(self, blob: bytes) -> bytes:
        """Commit events; see `Spooler.append`."""
        return await self._plane.append(blob)

    async def ask(self, blob: bytes) -> bytes:
        """Answer a flow's question; see `koco.control.rpc`."""
        return await self._plane.ask(blob)

    async def ready(self) -> dict[str, Any]:
        """Return `{version, url, start}` once the API answers; `start` is a `Start`."""
        return await self._plane.ready()

    async def admit(self, digest: bytes, *, recover: bool) -> bool:
        """Say whether a key, given by its SHA-256, is known; see `Plane.admit`."""
        return await self._plane.admit(digest, recover=recover)

    async def configure(self, values: dict[str, Any]) -> None:
        """Refuse: `operate` takes that with a proof."""
        await self._plane.configure(values)

    async def operate(self, blob: bytes) -> bool:
        """Do what the head's user asks for, signed; see `Plane.operate`."""
        return await self._plane.operate(blob)

    async def close(self) -> None:
        """Take koco's applications out of Serve and close the store; the process is ended next."""
        await self._plane.close()

    async def identity(self) -> dict[str, Any]:
        """Return what runs here, at once; see `Plane.identity`."""
        return await self._plane.identity()

    async def hand_over(self) -> None:
        """Let go of the port and the store; what calls meanwhile waits. See `succession`."""
        await self._plane.hand_over()

    async def resume(self) -> None:
        """Go on: the other one has not taken over."""
        await self._plane.resume()
