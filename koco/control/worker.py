"""A runner, as its pool sees it: what it can be asked, and what it has."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from koco.runner.spec import Description, Launch, Presence

#: How long a runner may take over its exit handlers (seconds).
_LEAVE_S = 10.0


class Actor(Protocol):
    """What a pool needs of a runner (see `koco.cluster.runners.RunnerActor`)."""

    #: Whether its process has answered so far.
    is_there: bool

    async def attach(self) -> Presence:
        """Say what it holds, and which process it is."""
        ...

    async def describe(self) -> Description:
        """Import the entrypoints."""
        ...

    async def launch(self, launch: Launch) -> None:
        """Begin an execution."""

    async def cancel(self, fid: str) -> None:
        """Ask an execution to end."""

    async def hold(self) -> None:
        """Wait for its end; raises when it died."""

    async def end(self) -> None:
        """Ask it to leave."""

    def kill(self) -> None:
        """End its process now."""


@dataclass(slots=True, eq=False)
class Runner:
    """A runner as its pool sees it."""

    id: str
    actor: Actor
    running: set[str] = field(default_factory=set)
    #: Those of them that the store does not know to be here yet.
    assigning: dict[str, asyncio.Event] = field(default_factory=dict)
    served: int = 0
    is_ready: bool = False
    #: It takes nothing new, and leaves when nothing runs in it.
    is_leaving: bool = False
    idle_since: float = field(default_factory=time.monotonic)
    #: How often its pool had been refreshed when it was started.
    generation: int = 0


async def see_off(actor: Actor) -> None:
    """Ask a runner to leave, and end its process if it does not."""
    try:
        await asyncio.wait_for(actor.end(), _LEAVE_S)
    except TimeoutError:
        actor.kill()


def died(cause: str) -> dict[str, Any]:
    """Return the `error` payload of an execution whose runner died."""
    return {
        "type": "RunnerDied",
        "message": f"the runner ended while it ran this execution: {cause}",
        "traceback": "",
    }
