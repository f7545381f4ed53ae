"""The words of the event stream: kinds, statuses, and the batch a producer sends."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What an event is about. Payloads are JSON; docs/events.md shows each."""

    META = "meta"
    INPUTS = "inputs"
    STATUS = "status"
    AGENT = "agent"
    DEBUG = "debug"
    STDOUT = "stdout"
    STDERR = "stderr"
    UPLOAD = "upload"
    LOCK = "lock"
    LEASE = "lease"
    ACTION = "action"
    RESULT = "result"
    ERROR = "error"
    FINAL = "final"


class Status(StrEnum):
    """Where an execution stands: queued → starting → running → one of the last three."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    AWAITING = "awaiting"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in FINAL


#: One of these ends every stream, once.
FINAL = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELLED})


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events of one execution from one producer, numbered by it from `first`.

    `body` holds `count` lines (see `line.encode`) joined by newlines. `status` is
    the status that the execution reaches with the last of them, where it reaches
    one; `runner` names the runner that says so, and is empty for other producers.
    `attempt` says which attempt of the execution they are of, 0 where that is not known.
    `is_last` says that the execution has returned: what its runner holds follows, and no more.
    """

    fid: str
    producer: str
    first: int
    count: int
    body: bytes
    runner: str = ""
    status: Status | None = None
    attempt: int = 0
    is_last: bool = False

    def is_held(self, ack: "Ack") -> bool:
        """Say whether an answer to this batch lets its producer forget it."""
        return ack.closed or ack.last >= self.first + self.count - 1


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """What the store holds of a batch's producer once its batch is committed.

    `last` is the highest number held without a gap: everything above it must be
    sent again. `closed` says that no event of this producer is wanted any more:
    the execution has its final status, does not exist, or has another runner.
    """

    last: int
    closed: bool = False
