"""A runner as its pool sees it: the calls that it answers, and its state."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from koco.cluster.runners import ENDED, RunnerActor, RunnerDied
from koco.control.runners.liveness import Vigil
from koco.errors import KocoError
from koco.sdk.process.crash import End
from koco.store.model import RunnerStart

log = logging.getLogger(__name__)

#: How long a runner that is asked to leave may take to answer (seconds), and then to finish its
#: exit handlers and threads before it is killed (seconds).
_LEAVE_S = 10.0
_EXIT_S = 10.0
#: How long to wait for the exact cause of a death during the start (seconds).
_EXACT_S = 5.0


#: The cause given for a process that ended before it could run anything.
SHORT_LIVED = "its process ended right after it had imported the entrypoints"

#: Delivers the data that a dead runner left on its node: `(runner id, node id)`. The node id is
#: empty if unknown. Returns how its process ended, if known.
Remains = Callable[[str, str], Awaitable[End | None]]


@dataclass(slots=True, eq=False)
class Runner:
    """A runner as its pool sees it."""

    id: str
    actor: RunnerActor
    running: set[str] = field(default_factory=set)
    #: Those in `running` that the store does not know to be here yet. The event is set when it
    #: does.
    assigning: dict[str, asyncio.Event] = field(default_factory=dict)
    served: int = 0
    is_ready: bool = False
    #: How it started, while executions that waited for it are given to it.
    start: RunnerStart | None = None
    #: It is older than the control plane's process, and has not yet said which executions it holds.
    is_attaching: bool = False
    #: It takes nothing new, and leaves when nothing runs in it any longer.
    is_leaving: bool = False
    idle_since: float = field(default_factory=time.monotonic)
    #: How often its pool had been refreshed before this runner was started.
    generation: int = 0
    #: Since when its pool has had it (monotonic seconds).
    since: float = field(default_factory=time.monotonic)
    #: The execution that it was given to run alone; see `Execution.runs_alone`.
    alone: str = ""
    #: The execution that has ignored its cancellation, if it was given up while others ran here.
    deaf: str = ""
    #: Whether an execution has begun in it.
    has_begun: bool = False
    #: By fid: executions that it was asked to begin and has not confirmed, with the entrypoint that
    #: each imports (empty if none).
    launching: dict[str, str] = field(default_factory=dict)
    #: It was asked to leave, and `see_off` makes sure that its process ends.
    is_seen_off: bool = False
    #: Set with the cause when the pool decides to end it, whatever Ray reports about it.
    given_up: "asyncio.Future[str]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: Whether its end is known. The data that it left may still be uncollected.
    has_ended: bool = False
    #: Set when its process has ended, as far as that can be observed.
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    #: Why it ended, and how its process ended if known. Both are set before `is_over`.
    cause: str = ""
    end: End | None = None
    #: The task that runs its vigil while it has work.
    watch: "asyncio.Task[None] | None" = None
    vigil: Vigil = field(init=False)

    def __post_init__(self) -> None:
        self.vigil = Vigil(self.actor)

    @property
    def is_closed(self) -> bool:
        """Whether it runs an execution alone, so that it gets no other."""
        return self.alone in self.running

    def give_up(self, cause: str) -> None:
        """Have its process ended, and its executions settled with this cause."""
        if not self.given_up.done():
            self.given_up.set_result(cause)

    async def wait_for_end(self) -> str:
        """Wait until it has ended or is given up; return the cause."""
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

    async def explain(self, death: RunnerDied) -> RunnerDied:
        """Return its death with the details that are known once its process has been cleaned up.

        Waits at most a few seconds for them, and returns `death` itself if there are none.
        """
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


async def see_off(actor: RunnerActor) -> None:
    """Ask a runner to leave, and end its process if it does not.

    Killing is necessary because Ray reports an actor that left as dead even if a non-daemon thread
    keeps its process alive.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(actor.end(), _LEAVE_S)
    await actor.kill(after_s=_EXIT_S)


def cause_of(told: str, end: End | None) -> str:
    """Return why a runner died: Ray's message, made exact by how its process ended if known."""
    return told if end is None else told.replace(ENDED, str(end))
