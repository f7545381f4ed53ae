"""Webhooks and their deliveries, as frozen structs."""

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

#: The kind of koco's own webhooks; others are named after the protocol that made them.
KOCO = "koco"

#: The news that a webhook may ask for, by the status that an execution has reached. `awaiting` is
#: told of each lock that is opened.
EVENTS = ("running", "awaiting", "finished", "error", "cancelled")
#: Those that it hears of if it asks for none: an execution has ended, or needs a person.
USUAL = ("awaiting", "finished", "error", "cancelled")
#: The event of a test.
TEST = "test"


class Maker(NamedTuple):
    """Whose a webhook is: a key or a user, and not the next one of that name."""

    #: The name.
    by: str
    #: When the key or the user was made.
    made: str


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, or one that is to be made. Its id is random, and no two have the same."""

    id: str
    url: str
    #: The name of its maker, and when that key or user was made: see `Maker`.
    by: str
    made: str = ""
    #: Unique among its maker's that are for many executions, or of its kind for one execution.
    name: str
    #: Who makes the content: see `koco.control.webhooks`.
    kind: str = KOCO
    #: The execution that it is for (`Execution.id`), or None if it is for many.
    execution: int | None = None
    events: tuple[str, ...] = USUAL
    #: Patterns of flows, `service/flow` with `*` for any text; empty means all.
    flows: tuple[str, ...] = ()
    #: The user whose executions it hears of; empty means all.
    user: str = ""
    created: str = ""
    #: Its secrets, encrypted: see `koco.control.webhooks.signing.Secrets`.
    sealed: bytes = b""
    #: Until when its former secret signs, too (seconds since the epoch).
    former_until: float | None = None
    #: When it was disabled, and why.
    disabled: str | None = None
    why: str | None = None
    #: How many attempts have failed since the last one that succeeded, and when that was.
    failures: int = 0
    last_ok: str | None = None

    @property
    def maker(self) -> Maker:
        """Its maker."""
        return Maker(self.by, self.made)

    @property
    def origin(self) -> str:
        """The scheme, host and port of its URL."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower()


def wants(flows: tuple[str, ...], flow: str) -> bool:
    """Whether a flow fits one of some patterns; all flows fit if there is none."""
    return not flows or any(fnmatchcase(flow, each) for each in flows)


class DeliveryStatus(StrEnum):
    """What has become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to a webhook. `message` is its id there, which stays over all attempts."""

    id: int
    message: str
    webhook: str
    #: Empty for a test.
    fid: str
    flow: str
    #: One of `EVENTS`, or `TEST`.
    event: str
    #: The lock that was opened, or empty.
    lid: str
    created: str
    status: DeliveryStatus
    #: When it is sent next (seconds since the epoch).
    due: float | None = None
    origin: str
    by: str
    tries: int = 0
    #: The last attempt: when it was, the status code of the answer, why it failed, its duration.
    last: str | None = None
    code: int | None = None
    error: str | None = None
    took_s: float | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went. `error` is empty if the receiver took the message."""

    at: str
    took_s: float
    code: int | None = None
    error: str = ""
    #: When to try again (seconds since the epoch); None if it is not tried again.
    again: float | None = None
    #: Why the webhook is disabled because of it.
    disables: str = ""


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries are wanted. None means that any fits."""

    #: The id of a webhook.
    webhook: str | None = None
    fid: str | None = None
    status: str | None = None
    #: The maker of the webhooks.
    by: Maker | None = None
