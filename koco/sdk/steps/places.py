"""Where in a flow's code a call is made: the same place when the flow runs again.

The flow's own task or thread is its main branch. Each asyncio task that it creates is a branch of
its own, numbered within the branch that created it. Calls are counted in each branch, so the tasks'
order of execution does not matter. Threads have no order: there, a call's arguments are its place.
"""

import asyncio
import contextvars
from _thread import get_ident
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

#: The branch of threads, which have no order.
UNORDERED = "~"


class Attempt:
    """One attempt of a running step. What is called inside belongs to it."""

    __slots__ = ("end_work", "is_over", "key", "name")

    def __init__(self, key: str, name: str) -> None:
        self.key = key
        self.name = name
        #: Ends the Ray tasks that this attempt has started; None if it has started none. Blocks.
        self.end_work: Callable[[], object] | None = None
        #: Whether that was done. What it starts from now on is ended, too.
        self.is_over = False


class Tree:
    """The branches of one execution."""

    def __init__(self) -> None:
        self._main: Branch | None = None
        self._unordered: Branch | None = None

    @property
    def main(self) -> "Branch":
        """The flow's own task or thread."""
        if self._main is None:
            self._main = Branch(self, "")
        return self._main

    @property
    def unordered(self) -> "Branch":
        """Threads that the flow starts."""
        if self._unordered is None:
            self._unordered = Branch(self, UNORDERED)
        return self._unordered

    def let_go(self) -> None:
        """Forget the branches, which refer to this tree: no garbage collector is needed then.

        Called once the flow has ended. What it leaves behind gets new ones.
        """
        self._main = self._unordered = None


class Branch:
    """A line of calls that are made one after the other."""

    __slots__ = ("attempt", "calls", "children", "counts", "has_task", "id", "thread", "tree")

    def __init__(self, tree: Tree, branch_id: str, *, thread: int = 0) -> None:
        self.tree = tree
        #: Empty for the main branch, `1.2` for a task's, `~` for threads.
        self.id = branch_id
        #: The number of its thread; 0 if it is not known yet.
        self.thread = thread
        #: How many calls were made here so far, in all and by name.
        self.calls = 0
        self.counts: dict[str, int] = {}
        self.children = 0
        #: Of the main branch: whether its task was created.
        self.has_task = False
        #: The step whose code runs here, instead of the flow's body.
        self.attempt: Attempt | None = None

    def inside(self, attempt: Attempt) -> "Branch":
        """Return the place of code that runs inside a step."""
        inner = Branch(self.tree, self.id)
        inner.attempt = attempt
        return inner

    def child(self) -> "Branch":
        """Return the branch of a task that is created here."""
        self.children += 1
        number = f"{self.id}.{self.children}" if self.id else str(self.children)
        return Branch(self.tree, number, thread=get_ident())

    def count(self, name: str) -> int:
        """Return how many calls of a name were made here before, and count one more."""
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        return number


#: The branch of the running code; None outside of executions.
here: ContextVar[Branch | None] = ContextVar("koco_branch", default=None)


def is_ordered(branch: Branch) -> bool:
    """Return whether the calling thread is the branch's own."""
    if branch.thread == 0 and branch.id != UNORDERED:
        branch.thread = get_ident()
    return branch.thread == get_ident()


def adopt() -> None:
    """Make the calling thread the current branch's own: a flow may move to another one."""
    if (branch := here.get()) is not None:
        branch.thread = get_ident()


def of_thread() -> Branch | None:
    """Return the branch of a thread that is started here: it has no order."""
    if (branch := here.get()) is None or branch.attempt is not None:
        return branch
    return branch.tree.unordered


def attempt_here() -> Attempt | None:
    """Return the attempt of the step whose code is running."""
    return branch.attempt if (branch := here.get()) is not None else None


def place_here() -> str | None:
    """Return the place of the running code, for its events; None if no branch is known.

    It is empty for the flow's main branch, the id of another branch, or a step's key.
    """
    if (branch := here.get()) is None:
        return None
    if branch.attempt is not None:
        return branch.attempt.key
    return branch.id if is_ordered(branch) else UNORDERED


def context_for_task(given: Context | None = None) -> Context | None:
    """Return the context for a new task, with a branch of its own; called by the loop.

    `given` is the context that the caller wants, and is returned if no branch is needed.
    """
    branch = here.get()
    if given is not None or branch is None or branch.attempt is not None:
        return given
    if task_here() is not None:
        branch = branch.child() if is_ordered(branch) else branch.tree.unordered
    elif branch is branch.tree.main and not branch.has_task:
        branch.has_task = True  # the flow's own task
        branch.thread = get_ident()
        return None
    else:
        # A callback, for example of `asyncio.run_coroutine_threadsafe`.
        branch = branch.tree.unordered
    context = contextvars.copy_context()
    context.run(here.set, branch)
    return context


def task_here() -> asyncio.Task[Any] | None:
    """Return the running task; None if there is none."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


def make_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make a task with a branch of its own: a task factory for loops that run flows."""
    context = context_for_task(options.pop("context", None))
    return asyncio.Task(coro, loop=loop, context=context, **options)
