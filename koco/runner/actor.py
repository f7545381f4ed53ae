"""The runner: the Ray actor in whose process executions run.

The actor is detached, so it outlives the control plane's process and serves the next one. The
control plane keeps one call to it pending (`hold`), which fails as soon as the process dies.
"""

from typing import Any

from koco.runner.executor import Executor


class Runner:
    """An `Executor` as a Ray actor. Messages are JSON, except `Presence`: msgpack (see `spec`).

    A process that finds an actor by name imports its class and looks up every method that the
    class had when the actor started, including private ones. If one is missing, no call works. So
    a runner of an older koco stays reachable only if this class stays in this module and keeps
    every method that was ever released. For the same reason it has no method that only it uses.
    """

    def __init__(self, spec: bytes, control: Any) -> None:
        self._executor = Executor(spec, control)

    async def describe(self, spec: bytes = b"") -> bytes:
        """Import every entrypoint; return a `Description`.

        A spare learns from `spec` what it is to run.
        """
        return await self._executor.describe(spec)

    async def attach(self) -> bytes:
        """Return this runner's `Presence`."""
        return await self._executor.attach()

    async def turn_to(self, control: Any, node: str) -> None:
        """Turn to another process of the control plane, which leads now, on the node of this id."""
        self._executor.turn_to(control, node)

    async def hold(self) -> None:
        """Stay pending until `end` is called."""
        await self._executor.hold()

    async def end(self) -> None:
        """Let `hold` return, run exit handlers and leave. Called when nothing runs here."""
        await self._executor.end()

    async def launch(self, blob: bytes) -> None:
        """Begin an execution; return before it ends. A repeated call changes nothing."""
        await self._executor.launch(blob)

    async def cancel(self, fid: str) -> None:
        """Ask an execution to end."""
        await self._executor.cancel(fid)

    async def is_blocked(self, by: str) -> bool:
        """Return whether others cannot go on, because an execution blocks the loop they share."""
        return await self._executor.is_blocked(by)

    async def stack(self, fid: str, *, everything: bool) -> bytes:
        """Return an encoded list of `Stack`s: of an execution, or of the whole process."""
        return await self._executor.stack(fid, everything=everything)
