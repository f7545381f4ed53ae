"""The questions that runners, Ray tasks and endpoints ask the control plane, and their answers.

Processes of different versions talk to each other: add fields only with defaults, remove none.
"""

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

A = TypeVar("A")


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
