"""The runner: the Ray actor in whose process executions run.

It is detached, so that it outlives the control plane's process, and serves the
next one. The control plane holds one pending call on it (`hold`), which fails
the moment the process dies.
"""

from typing import Any

from koco.runner.executor import Executor


class Runner:
    """An `Executor` as Ray's actor. What is said is JSON, its presence msgpack (see `spec`).

    Whoever finds an actor by name imports its class and looks up each method that it had
    when it was started, private ones as well: where one is missing, no call works. So a
    runner of an older koco is reached only while this class keeps its place and all
    methods that ever shipped, and it has none that others do not call.
    """

    def __init__(self, spec: bytes, control: Any) -> None:
        self._executor = Executor(spec, control)

    async def describe(self) -> bytes:
        """Import every entrypoint; return a `Description`."""
        return await self._executor.describe()

    async def attach(self) -> bytes:
        """Return this runner's `Presence`."""
        return await self._executor.attach()

    async def hold(self) -> None:
        """Stay pending until this runner is told to `end`."""
        await self._executor.hold()

    async def end(self) -> None:
        """Let `hold` return, then leave with exit handlers run; asked when nothing runs here."""
        await self._executor.end()

    async def launch(self, blob: bytes) -> None:
        """Begin an execution; return before it ends. A repeated call changes nothing."""
        await self._executor.launch(blob)

    async def cancel(self, fid: str) -> None:
        """Ask an execution to end."""
        await self._executor.cancel(fid)

    async def stack(self, fid: str, *, everything: bool) -> bytes:
        """Return the stacks of an execution, or of all that runs here: `Stack`s."""
        return await self._executor.stack(fid, everything=everything)
