"""The kinds of events, and the statuses of executions."""

from enum import StrEnum


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
    STEP = "step"
    ACTION = "action"
    PROGRESS = "progress"
    RESULT = "result"
    ERROR = "error"
    FINAL = "final"


class Status(StrEnum):
    """The status of an execution: queued → starting → running → one of the last three.

    While it waits for a person it is `awaiting`. Without a process it may also be `sleeping`: it
    waits for a time, a message or another execution.
    """

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    AWAITING = "awaiting"
    SLEEPING = "sleeping"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the execution has ended: no other status follows."""
        return self in FINAL


#: Every stream ends with exactly one of these.
FINAL = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELLED})
#: The statuses of executions that have not ended, in their order.
OPEN = tuple(status for status in Status if status not in FINAL)
