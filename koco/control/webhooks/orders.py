"""What the API asks for: make webhooks, test them, give them new secrets, send again."""

import re
import secrets
import time
from collections.abc import Iterable, Mapping

import msgspec

from koco.control.access import scopes
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.webhooks import posting, signing
from koco.control.webhooks.content import Contents, MakeContent
from koco.control.webhooks.sender import Sender, open_secrets, seal_name
from koco.control.webhooks.signing import Secrets
from koco.errors import UsageError
from koco.spelling import nearest
from koco.store.store import Store
from koco.store.webhook_model import EVENTS, KOCO, USUAL, Attempt, Delivery, Maker, Webhook

#: The name of the webhook that a launch brings.
OF_LAUNCH = "launch"
#: How long a former secret signs, too, unless somebody says otherwise (seconds).
GRACE_S = 86_400.0
_LONGEST_GRACE_S = 30 * 86_400.0

#: A header's name, and its value without line breaks, because these would begin another header.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]{0,8000}")
#: Headers that koco sets itself, or that would change how the request is read.
_OURS = frozenset(
    {
        *("host", "content-length", "content-type", "connection", "transfer-encoding"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "user-agent", "accept"),
    }
)


class Webhooks:
    """The webhooks of one control plane, whose URL is `url`."""

    def __init__(self, store: Store, settings: Settings, vault: Vault, *, url: str) -> None:
        self._store = store
        self._settings = settings
        self._vault = vault
        #: Who makes the content, by the kind of webhook.
        self.contents: dict[str, MakeContent] = {KOCO: Contents(store, url=url).make}
        self.sender = Sender(store, settings, vault, contents=self.contents)

    async def make(
        self,
        kind: str,
        url: str,
        *,
        by: Maker,
        name: str,
        events: Iterable[str] = USUAL,
        headers: Mapping[str, str] | None = None,
        secret: str = "",
        signed: bool = True,
    ) -> tuple[Webhook, str]:
        """Return a webhook for one execution, which is not stored yet, and its secret.

        The secret is a new one unless it is given, and empty if the webhook is not `signed`.

        Raises:
            UsageError: the URL, an event, a header or the secret is not valid.
        """
        kept = Secrets(_secret(secret, signed), headers=check_headers(headers or {}))
        webhook = Webhook(
            id=f"wh_{secrets.token_hex(12)}",
            name=name,
            kind=kind,
            url=posting.check_url(url, networks=self._settings.webhook_networks),
            events=check_events(events),
            by=by.by,
            made=by.made,
        )
        return await self._seal(webhook, kept), kept.secret

    async def create(
        self,
        name: str,
        url: str,
        *,
        by: Maker,
        of_all: bool,
        events: Iterable[str] = USUAL,
        flows: Iterable[str] = (),
        secret: str = "",
    ) -> tuple[Webhook, str]:
        """Store a webhook for many executions; return it with its secret.

        It hears of its maker's executions or, with `of_all`, of everybody's.

        Raises:
            UsageError: a value is not valid.
            ConflictError, LimitError: see `koco.store.webhooks.webhooks.Webhooks.add`.
        """
        scopes.check_name(name, what="webhook")
        webhook, secret = await self.make(KOCO, url, by=by, name=name, events=events, secret=secret)
        webhook = msgspec.structs.replace(
            webhook, flows=scopes.check_flows(flows), user="" if of_all else by.by
        )
        await self._store.webhooks.add(webhook)
        return await self._store.webhooks.named(name, by=by), secret

    async def rotate(self, webhook: Webhook, *, grace_s: float = GRACE_S) -> tuple[Webhook, str]:
        """Give a webhook a new secret; the old one signs, too, for a while.

        Raises:
            UsageError: that is too long.
        """
        if not 0 <= grace_s <= _LONGEST_GRACE_S:
            raise UsageError("the former secret may sign for up to 30 days", hint="24h, say")
        old = open_secrets(self._vault, webhook)
        new = msgspec.structs.replace(old, secret=signing.new_secret(), former=old.secret)
        sealed = await self._seal(webhook, new)
        changes = {"sealed": sealed.sealed, "former_until": time.time() + grace_s}
        await self._store.webhooks.change(webhook.id, changes)
        return msgspec.structs.replace(webhook, **changes), new.secret

    async def test(self, webhook: Webhook) -> tuple[Delivery, Attempt]:
        """Send a test now, and once; if it succeeds, a disabled webhook is enabled again.

        Raises:
            TooManyError: too many messages are on their way.
        """
        delivery, attempt = await self.sender.test(webhook)
        if not attempt.error and webhook.disabled is not None:
            await self._store.webhooks.enable(webhook.id)
        return delivery, attempt

    async def send_again(self, numbers: list[int]) -> int:
        """Send deliveries again, now, with the same ids; return how many."""
        count = await self._store.deliveries.send_again(numbers)
        self.sender.wake()
        return count

    async def of_launch(self, execution: int, *, by: Maker) -> tuple[str, str] | None:
        """Return the URL and the secret of the webhook that a maker's launch has brought, if so."""
        for each in await self._store.webhooks.of(execution, kind=KOCO, by=by):
            if each.name == OF_LAUNCH:
                return each.url, open_secrets(self._vault, each).secret
        return None

    async def _seal(self, webhook: Webhook, kept: Secrets) -> Webhook:
        box = await self._vault.box()
        sealed = box.seal(msgspec.json.encode(kept), seal_name(webhook.id))
        return msgspec.structs.replace(webhook, sealed=sealed)


def check_events(events: Iterable[str]) -> tuple[str, ...]:
    """Return events without duplicates.

    Raises:
        UsageError: there is none, or one is unknown.
    """
    asked = tuple(dict.fromkeys(events))
    for each in asked:
        if each not in EVENTS:
            near = nearest(each, EVENTS)
            hint = f"did you mean {near}?" if near else f"events: {', '.join(EVENTS)}"
            raise UsageError(f"a webhook cannot hear of {each[:80]!r}", hint=hint)
    if not asked:
        raise UsageError("a webhook that hears of nothing", hint=f"events: {', '.join(EVENTS)}")
    return asked


def _secret(secret: str, signed: bool) -> str:
    if not signed:
        return ""
    return signing.check_secret(secret) if secret else signing.new_secret()


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that are to be sent with a webhook.

    Raises:
        UsageError: one cannot be sent.
    """
    for name, value in headers.items():
        if not (_HEADER.fullmatch(name) and _VALUE.fullmatch(value)) or name.lower() in _OURS:
            raise UsageError(f"the header {name[:80]!r} cannot be sent with a webhook")
    return dict(headers)
