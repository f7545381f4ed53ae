"""The event stream's data: kinds, statuses, and the batches that a producer sends."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """The kind of an event. Payloads are JSON; docs/events.md shows the payload of each kind."""

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
    """The status of an execution: queued → starting → running → one of the last three."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    AWAITING = "awaiting"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the execution has ended: no other status follows."""
        return self in FINAL


#: Every stream ends with exactly one of these.
FINAL = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELLED})


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events of one execution from one producer, numbered by it from `first`.

    `body` holds `count` lines (see `line.encode`) joined by newlines. `status` is set
    if the last line changes the execution's status. `runner` names the runner that
    sends the batch and is empty for other producers. `attempt` is the number of the
    execution's attempt, 0 if unknown. `is_last` means that the execution has returned:
    the runner sends the events that it still holds, and produces no further ones.
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
        """Return whether the producer may forget this batch, given the answer to it."""
        return ack.closed or ack.last >= self.first + self.count - 1


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a batch: which of its producer's events the store has committed.

    `last` is the highest number up to which the store holds every event. The producer
    must send everything above it again. `closed` means that the store takes no more
    events from this producer, because the execution has its final status, does not
    exist, or has another runner.
    """

    last: int
    closed: bool = False
