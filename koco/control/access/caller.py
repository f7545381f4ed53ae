"""Who asks the control plane for something, and what they may ask for."""

import time
from fnmatch import fnmatchcase

import msgspec

from koco import tokens
from koco.store.model import EVERYTHING, Sight

#: What a caller may be allowed to do: each includes `read`, and `admin` the others.
SCOPES = ("read", "launch", "deploy", "admin")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A person or an agent, by a key or a session; or the flow of the execution `fid`."""

    #: Who it is: executions, releases and answers know this name.
    name: str
    scopes: frozenset[str] = frozenset()
    #: The flows that it may see and launch: see `Key.flows`.
    flows: tuple[str, ...] = ()
    #: Whether it sees everybody's executions.
    sees_all: bool = False
    fid: str | None = None
    #: What it shows: `key:NAME`, `session:ID` or `flow:FID`; revoking that ends its streams.
    credential: str = ""
    #: When that is good no more (seconds since the epoch).
    expires: float | None = None
    #: When it was known by that (seconds of a clock that never goes back).
    since: float = msgspec.field(default_factory=time.monotonic)
    #: The address that it calls from, and the id of its request.
    address: str = ""
    request: str = ""

    def may(self, scope: str) -> bool:
        """Say whether it has a scope."""
        if scope == "read":
            return bool(self.scopes)  # who launches or deploys must see how it goes
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, flow: str) -> bool:
        """Say whether a flow, by its full name, is one that it may see and launch."""
        return not self.flows or any(fnmatchcase(flow, each) for each in self.flows)

    def reaches_all_of(self, service: str) -> bool:
        """Say whether every flow that a service may ever have is one of those."""
        return self.reaches(f"{service}/*")

    @property
    def holder(self) -> str:
        """Whose requests and streams count together: a user's, however often they log in."""
        return f"user:{self.name}" if self.credential.startswith("session:") else self.credential

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= time.time()

    @property
    def sight(self) -> Sight:
        """What it may see of executions."""
        if self.fid is not None:
            return EVERYTHING  # the guard has let it through to its own execution only
        user = None if self.sees_all or "admin" in self.scopes else self.name
        return Sight(user, self.flows)

    @property
    def uploader(self) -> str:
        """Whose uploads it may name: its own."""
        return self.name if self.fid is None else f"{tokens.FLOW}{self.fid}"


#: Whoever asks for what is public: no name, and nothing that it may.
NOBODY = Caller(name="")
