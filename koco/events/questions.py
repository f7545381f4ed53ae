"""The questions that runners, Ray tasks and endpoints ask the control plane, and their answers.

Processes of different versions talk to each other: add fields only with defaults, remove none.
"""

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from koco.events.used import Used

A = TypeVar("A")

#: The longest wait for a time or a message (seconds): ten years.
LONGEST_WAIT_S = 10 * 366 * 86_400.0


class Question(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """A question, whose fields are its arguments. `A` is the type of its answer."""

    NAME: ClassVar[str]
    #: `A` again, for decoding.
    ANSWER: ClassVar[Any]


class LockOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a lock. `moments` says which texts are dates: see `koco.events.datetimes`."""

    status: str
    answer: Any = None
    moments: list[Any] = []


class OpenLock(Question[None], frozen=True, kw_only=True):
    """Open a lock. The `lid` makes the question safe to repeat."""

    NAME = "lock.open"
    ANSWER = Any

    lid: str
    name: str
    data: Any
    timeout_s: float
    #: Its place in the flow's code (`koco.events.steps.StepRecord.key`), from which the `lid` is
    #: made; empty if it has none. Only with a place does it stay open when its process dies, and
    #: is it listed among the steps.
    key: str = ""
    #: The order of the calls, and its data for people, if it has a place.
    position: int = 0
    arguments: str = ""


class WaitForLock(Question[LockOutcome], frozen=True, kw_only=True):
    """Wait until a lock is settled."""

    NAME = "lock.wait"
    ANSWER = LockOutcome

    lid: str


class WithdrawLock(Question[None], frozen=True, kw_only=True):
    """Withdraw a lock that the flow no longer waits for."""

    NAME = "lock.withdraw"
    ANSWER = Any

    lid: str


class WaitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a wait: `status` is a `koco.events.steps.StepStatus`.

    `value` is the message or the other execution's result, `moments` says which of its texts are
    dates (`koco.events.datetimes`). `error` has the type, message and traceback of the other
    execution's error, `fid` is its id.
    """

    status: str
    value: Any = None
    moments: list[Any] = []
    error: dict[str, Any] | None = None
    fid: str = ""


class _Wait(Question[WaitOutcome], frozen=True, kw_only=True):
    """A wait, recorded under its key: see `koco.events.steps.StepRecord`.

    The answer comes once the wait is over. A repeated question, even of another process, goes on
    with the same wait.
    """

    ANSWER = WaitOutcome

    key: str
    position: int
    digest: str
    #: Its arguments, for people.
    arguments: str = ""


class Sleep(_Wait, frozen=True, kw_only=True):
    """Wait for a time: for so many seconds, or until then (seconds since the epoch)."""

    NAME = "wait.sleep"

    seconds: float | None = None
    until: float | None = None


class Receive(_Wait, frozen=True, kw_only=True):
    """Wait for the next message of a name; without end if the timeout is None."""

    NAME = "wait.receive"

    name: str
    timeout_s: float | None = None


class CallFlow(_Wait, frozen=True, kw_only=True):
    """Launch an execution of a flow (`service/flow`), and wait for its end if `waits`.

    `launch_key` is the flow author's own idempotency key.
    """

    NAME = "wait.call"

    flow: str
    inputs: dict[str, Any]
    launch_key: str | None = None
    waits: bool = True


class WithdrawWait(Question[None], frozen=True, kw_only=True):
    """Withdraw a wait that the flow has given up. Another execution goes on."""

    NAME = "wait.withdraw"
    ANSWER = Any

    key: str


class ReadHistory(Question[str], frozen=True, kw_only=True):
    """Ask for everything that is stored of the execution: a `koco.events.steps.Past`."""

    NAME = "steps.history"
    ANSWER = str


class ReadStep(Question[str], frozen=True, kw_only=True):
    """Ask for a large result that the history leaves out, as base64."""

    NAME = "steps.result"
    ANSWER = str

    key: str


class Park(Question[bool], frozen=True, kw_only=True):
    """Ask to take the execution out of its runner, because it only waits.

    `keys` are its waits, `locks` the lids of its locks. True means that it no longer belongs to
    the runner; it runs again elsewhere as soon as one of them ends.
    """

    NAME = "execution.park"
    ANSWER = bool

    keys: list[str]
    locks: list[str]
    #: What the execution has used so far.
    used: Used | None = None


class FileAccess(msgspec.Struct, frozen=True, kw_only=True):
    """The URL of an execution's files and the token for them."""

    url: str
    token: str


class AccessFiles(Question[FileAccess], frozen=True, kw_only=True):
    """Ask how to reach the execution's files."""

    NAME = "files.access"
    ANSWER = FileAccess


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended."""

    pid: int
    how: str
    traceback: str


class FindCrash(Question[Crash | None], frozen=True, kw_only=True):
    """Find out how a process of a release (`service/number`) ended.

    `since` is in seconds since the epoch. A `pid` of 0 means any process.
    """

    NAME = "crash.find"
    ANSWER = Crash | None

    release: str
    since: float
    pid: int


class EndpointKey(Question[str], frozen=True, kw_only=True):
    """Ask for the key, in hexadecimal, with which a replica checks signatures."""

    NAME = "endpoints.key"
    ANSWER = str

    service: str
    release: int


class EndWork(Question[None], frozen=True, kw_only=True):
    """End the remaining Ray tasks and actors of an ended execution, given by Ray's ids."""

    NAME = "work.ended"
    ANSWER = Any

    tasks: list[str]
    actors: list[str]
    #: Actors that may outlive the execution, with everything that they have started.
    kept: list[str]
