"""The control plane: the detached Ray actor `control` in the namespace `koco`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koco.control.container import Parts


class ControlPlane:
    """A `Plane` as a Ray actor.

    A process that finds an actor by name imports its class and looks up each method that the class
    had when the actor was started, private methods included. If one is missing, no call works. So a
    control plane of an older koco can be upgraded in place only while this class keeps its module
    and every method that ever shipped. Add a method only if other processes call it.
    """

    def __init__(
        self,
        start: bytes,
        make_app: "Callable[[Parts], Any]",
        only_for_nodes: Callable[[Any], Any],
    ) -> None:
        # Only here: whoever starts or finds the actor imports this module, and needs nothing else.
        from koco.control.process import Plane

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
        """Return whether a key, given by its SHA-256, is known; see `Plane.admit`."""
        return await self._plane.admit(digest, recover=recover)

    async def configure(self, values: dict[str, Any]) -> None:
        """Refuse: `operate` does this, with a proof."""
        await self._plane.configure(values)

    async def operate(self, blob: bytes) -> bool:
        """Carry out a signed request of the head's user; see `Plane.operate`."""
        return await self._plane.operate(blob)

    async def close(self) -> None:
        """Remove koco's applications from Serve and close the store; the process is ended next."""
        await self._plane.close()

    async def identity(self) -> dict[str, Any]:
        """Return what runs here, without waiting; see `Plane.identity`."""
        return await self._plane.identity()

    async def hand_over(self) -> None:
        """Release the port and the store; calls wait meanwhile. See `koco.control.handover`."""
        await self._plane.hand_over()

    async def resume(self) -> None:
        """Resume service, because the other control plane has not taken over."""
        await self._plane.resume()
