"""The processes that share a store, and the one of them that leads."""

import msgspec


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """The process that leads, or that was the last to do so."""

    #: How often the store had been opened when it began to lead: no other leader has that number.
    epoch: int
    #: Its name: see `Member.name`.
    member: str
    #: Where others reach it.
    url: str
    #: How long ago it renewed its claim (seconds, by the server's clock).
    age_s: float


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A process that has a shared store open."""

    name: str
    #: Where others reach it; empty until it has said so.
    url: str
    #: The machine, and the process's id there.
    node: str
    pid: int
    #: The version of its koco.
    version: str
    #: RFC 3339.
    started: str
