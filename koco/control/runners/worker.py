"""A runner, as its pool sees it: what it can be asked, and what it has."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from koco.cluster.node_processes import Sighting
from koco.cluster.runners import ENDED, RunnerDied
from koco.control.runners.liveness import Vigil
from koco.errors import KocoError
from koco.runner.spec import Description, Launch, Presence
from koco.sdk.process.crash import End
from koco.sdk.process.stacks import Stack

log = logging.getLogger(__name__)

#: How long a runner that is asked to leave may take to answer, and then over its exit handlers and
#: its threads, before it is killed (seconds).
_LEAVE_S = 10.0
_EXIT_S = 10.0
#: How long a death at the start may wait until it is known exactly (seconds).
_EXACT_S = 5.0


class Actor(Protocol):
    """What a pool needs of a runner (see `koco.cluster.runners.RunnerActor`)."""

    #: Whether its process has answered so far.
    is_there: bool

    @property
    def node(self) -> str:
        """The id of its node; empty while that is unknown."""
        ...

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

    async def stack(self, fid: str, *, everything: bool) -> list[Stack]:
        """Ask what an execution there is in the middle of."""
        ...

    @property
    def handle(self) -> Any:
        """What Ray knows it by."""
        ...

    async def look(self) -> Sighting | None:
        """Look at its process from outside; None where it is gone."""
        ...

    async def kill(self, *, after_s: float = 0.0) -> bool:
        """End its process for certain, after so many seconds; return whether it is seen gone."""
        ...


#: Of a process that is gone before it could do anything.
SHORT_LIVED = "its process ended right after it had imported the entrypoints"

#: Delivers what a dead runner left on its node, asked with the runner's id and its node's (empty
#: if unknown); returns how its process ended, if that is known.
Remains = Callable[[str, str], Awaitable[End | None]]


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
    #: It was there before this process, and has not said yet what it holds.
    is_attaching: bool = False
    #: It takes nothing new, and leaves when nothing runs in it.
    is_leaving: bool = False
    idle_since: float = field(default_factory=time.monotonic)
    #: How often its pool had been refreshed when it was started.
    generation: int = 0
    #: Since when its pool has it.
    since: float = field(default_factory=time.monotonic)
    #: Whether an execution has begun in it.
    has_begun: bool = False
    #: Executions that it was told to begin, and has not said that it did; with what they import.
    launching: dict[str, str] = field(default_factory=dict)
    #: It was asked to leave, and `see_off` ends its process.
    is_seen_off: bool = False
    #: Why it is to be ended, once that is so, whatever Ray says of it.
    given_up: "asyncio.Future[str]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: Whether its end is known, while what it left may not be yet.
    has_ended: bool = False
    #: Set once its process is ended, as far as that can be seen.
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    #: Why it ended, and how its process did if that is known, once it is over.
    cause: str = ""
    end: End | None = None
    #: What looks after it while it has work.
    watch: "asyncio.Task[None] | None" = None
    vigil: Vigil = field(init=False)

    def __post_init__(self) -> None:
        self.vigil = Vigil(self.actor)

    def give_up(self, cause: str) -> None:
        """Have its process ended, and what runs in it settled with this cause."""
        if not self.given_up.done():
            self.given_up.set_result(cause)

    async def ended(self) -> str:
        """Wait until it has ended or is given up; return why."""
        holding = asyncio.ensure_future(self.actor.hold())
        try:
            await first(holding, self.given_up)
            if self.given_up.done():
                return self.given_up.result()
            await holding
        except KocoError as exc:
            return exc.message
        finally:
            holding.cancel()
        return "its runner left"

    async def told_exactly(self, death: RunnerDied) -> RunnerDied:
        """Return its death with what is known once its process is buried; soon in any case."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.is_over.wait(), _EXACT_S)
        if self.end is None:
            return death
        wrote = f"It wrote last:\n{self.end.wrote}" if self.end.wrote else ""
        detail = "\n\n".join(filter(None, [self.end.traceback.strip(), wrote]))
        return RunnerDied(self.cause, detail=detail)


async def first(*futures: "asyncio.Future[Any]") -> None:
    """Wait until one of them is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def see_off(actor: Actor) -> None:
    """Ask a runner to leave, and end its process if it does not.

    Ray calls an actor dead that has left, but a thread that is no daemon keeps its process.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(actor.end(), _LEAVE_S)
    await actor.kill(after_s=_EXIT_S)


def cause_of(told: str, end: End | None) -> str:
    """Return why a runner died: what Ray told, made exact by how its process ended."""
    return told if end is None else told.replace(ENDED, str(end))
