"""The caller of a request, and the caller's rights."""

import time
from fnmatch import fnmatchcase

import msgspec

from koco import tokens
from koco.store.model import EVERYTHING, Key, Sight, User
from koco.store.webhook_model import Maker

#: All scopes; each includes `read`, and `admin` includes the others.
SCOPES = ("read", "launch", "deploy", "admin")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A person or an agent, by a key or a session; or the flow of the execution `fid`."""

    #: The caller's name in executions, releases and answers.
    name: str
    scopes: frozenset[str] = frozenset()
    #: The flows that the caller may see and launch: see `Key.flows`.
    flows: tuple[str, ...] = ()
    #: Whether the caller sees the executions of all callers.
    sees_all: bool = False
    fid: str | None = None
    #: The credential: `key:NAME`, `session:ID` or `flow:FID`. Revoking it ends the caller's
    #: streams.
    credential: str = ""
    #: When the key or user was made: tells it from others of its name, before and after it.
    made: str = ""
    #: When the credential expires (seconds since the epoch).
    expires: float | None = None
    #: When the credential was checked (seconds of a monotonic clock).
    since: float = msgspec.field(default_factory=time.monotonic)
    #: The address of the caller, and the id of the request.
    address: str = ""
    request: str = ""

    @classmethod
    def of(
        cls, holder: Key | User, *, credential: str = "", expires: float | None = None
    ) -> "Caller":
        """Return the caller that a key or a user is, by a credential of theirs."""
        return cls(
            name=holder.name,
            scopes=frozenset(holder.scopes),
            flows=holder.flows,
            sees_all=holder.sees_all,
            made=holder.created,
            credential=credential,
            expires=expires,
        )

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope."""
        if scope == "read":
            return bool(self.scopes)  # a caller that launches or deploys must see how it goes
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, flow: str) -> bool:
        """Return whether the caller may see and launch a flow, given by its full name."""
        return not self.flows or any(fnmatchcase(flow, each) for each in self.flows)

    def reaches_all_of(self, service: str) -> bool:
        """Return whether the caller reaches every flow that a service may ever have."""
        return self.reaches(f"{service}/*")

    @property
    def holder(self) -> str:
        """The name under which requests and streams are counted: a user's logins count together."""
        return f"user:{self.name}" if self.credential.startswith("session:") else self.credential

    @property
    def is_over(self) -> bool:
        """Whether the credential has expired."""
        return self.expires is not None and self.expires <= time.time()

    @property
    def sight(self) -> Sight:
        """The executions that the caller may see."""
        if self.fid is not None:
            return EVERYTHING  # the guard has let the flow through to its own execution only
        user = None if self.sees_all or "admin" in self.scopes else self.name
        return Sight(user, self.flows)

    @property
    def uploader(self) -> str:
        """The owner of the uploads that the caller may name."""
        return self.name if self.fid is None else f"{tokens.FLOW}{self.fid}"

    @property
    def maker(self) -> Maker:
        """Whose webhooks the caller's are."""
        return Maker(self.name, self.made)

    @property
    def owner(self) -> str:
        """The owner of the caller's unfinished uploads: see `koco.control.storage.unfinished`."""
        return owner_of(self.uploader, self.made)


def owner_of(name: str, made: str) -> str:
    """Return the owner of a key's or a user's unfinished uploads."""
    return f"{name} {made}" if made else name


#: The caller of public routes: no name and no scopes.
NOBODY = Caller(name="")
