"""What the threads of `koco dev` report to its loop."""

from dataclasses import dataclass
from typing import Any

from koco.cli.dev.sources import Sources
from koco.client.answers import AnyRelease
from koco.client.many_stream import LineOfMany, ManyStream
from koco.errors import KocoError


@dataclass(frozen=True, slots=True)
class Changed:
    """Files were changed."""

    #: When it was noticed (seconds of a monotonic clock).
    at: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A deploy has found its sources, and is about to read them."""

    turn: int
    sources: Sources


@dataclass(frozen=True, slots=True)
class Planned:
    """A deploy is about to do something: a line for people, for each service."""

    turn: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A step of a deploy, for programs."""

    turn: int
    kind: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deploy has ended; no releases if nothing had changed."""

    turn: int
    releases: tuple[AnyRelease, ...]
    #: The names of all services that are deployed now.
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A deploy has failed."""

    turn: int
    error: KocoError


@dataclass(frozen=True, slots=True)
class Typed:
    """A person has pressed a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """Events of executions."""

    stream: ManyStream
    lines: list[LineOfMany]


@dataclass(frozen=True, slots=True)
class Away:
    """The control plane does not answer; a thread tries again."""

    error: KocoError


@dataclass(frozen=True, slots=True)
class Lost:
    """A thread cannot go on."""

    error: KocoError


@dataclass(frozen=True, slots=True)
class Terminated:
    """The process was asked to end, by a signal."""

    signal: int


Happening = (
    Changed
    | Begun
    | Planned
    | Told
    | Deployed
    | Failed
    | Typed
    | Arrived
    | Away
    | Lost
    | Terminated
)
