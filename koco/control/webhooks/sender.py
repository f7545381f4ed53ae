"""Sends what is in the outbox, and records how it went.

Nothing of this is in the way of executions: the outbox is read after the commit that has filled it,
and each message is one row until its receiver has taken it. If the control plane dies while it
sends, the next one sends the same message again, with the same id.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from koco.control.access import rights
from koco.control.access.caller import Caller
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.tasks import Tasks, surely
from koco.control.webhooks import posting, retries, signing
from koco.control.webhooks.content import Content, MakeContent
from koco.control.webhooks.posting import Answer, PostError
from koco.control.webhooks.signing import Secrets
from koco.errors import KocoError, TooManyError
from koco.events import line
from koco.store.store import Store
from koco.store.webhook_model import TEST, Attempt, Delivery, Webhook

log = logging.getLogger(__name__)

#: How many messages are sent at once: in all, to one origin, of one webhook, and of one maker's
#: webhooks. A receiver that hangs holds up only its own, also if others are at the same host.
_AT_ONCE = 48
_MOST = {"origin": 6, "webhook": 4, "maker": 16}
#: The longest pause between two looks into the outbox (seconds): the clock may be set.
_LOOK_S = 60.0

_GONE = 410

Post = Callable[..., Awaitable[Answer]]
#: Where few messages may be on their way at once: of what sort it is, and which.
Place = tuple[str, str]


class Sender:
    """Sends deliveries. `contents` has who makes the content of each kind of webhook."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        vault: Vault,
        *,
        contents: Mapping[str, MakeContent],
        post: Post = posting.post,
    ) -> None:
        self._store = store
        self._settings = settings
        self._vault = vault
        self._contents = contents
        self._post = post
        self._tasks = Tasks("the webhooks")
        self._news = asyncio.Event()
        self._sending: dict[int, Delivery] = {}
        #: The webhooks that are being tested, each as often as it is.
        self._testing: list[Webhook] = []
        #: How many attempts have succeeded and failed since the start.
        self.outcomes: Counter[str] = Counter({"ok": 0, "failed": 0})

    def wake(self) -> None:
        """Look into the outbox, because there is something new in it."""
        self._news.set()

    async def keep(self) -> None:
        """Send what is due, without end."""
        expired = -math.inf
        while True:
            self._news.clear()
            if time.monotonic() - expired >= _LOOK_S:
                expired = time.monotonic()
                await self._store.webhooks.disable_expired()
            due = await self._begin()
            pause_s = _LOOK_S if due is None else min(max(due - time.time(), 0.0) + 0.001, _LOOK_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _begin(self) -> float | None:
        """Begin to send what is due, as far as there is room; return when the next is due."""
        while (room := self._room()) > 0:
            busy = self._busy()
            full = [place for place in busy if _is_full(busy, place)]
            found = await self._store.deliveries.due(
                limit=room,
                without=list(self._sending),
                origins=[value for name, value in full if name == "origin"],
                webhooks=[value for name, value in full if name == "webhook"],
                makers=[value for name, value in full if name == "maker"],
            )
            if not found.items:
                return found.next
            for each in found.items:
                if not any(_is_full(busy, place) for place in _places(each)):
                    busy.update(_places(each))
                    self._sending[each.id] = each
                    self._tasks.spawn(self._send(each))
        return None

    def _room(self) -> int:
        """Return how many more messages may be on their way."""
        return _AT_ONCE - len(self._sending) - len(self._testing)

    def _busy(self) -> Counter[Place]:
        """Return how many messages are on their way, by place."""
        sending: list[Delivery | Webhook] = [*self._sending.values(), *self._testing]
        return Counter(place for each in sending for place in _places(each))

    async def _send(self, delivery: Delivery) -> None:
        try:
            await self._attempt(delivery)
        finally:
            del self._sending[delivery.id]
            self._news.set()

    async def test(self, webhook: Webhook) -> tuple[Delivery, Attempt]:
        """Send a test now, and once. It counts like all messages that are on their way.

        Raises:
            TooManyError: there are as many as there may be.
        """
        busy = self._busy()
        if self._room() <= 0 or any(_is_full(busy, place) for place in _places(webhook)):
            raise TooManyError(
                "too many messages to webhooks are on their way",
                hint="try again once some have arrived",
                retry_after_s=posting.MOST_S,
            )
        self._testing.append(webhook)
        try:
            delivery = await self._store.deliveries.add_test(webhook)
            return delivery, await self._attempt(delivery, again=False)
        finally:
            self._testing.remove(webhook)
            self._news.set()

    async def _attempt(self, delivery: Delivery, *, again: bool = True) -> Attempt:
        """Send a delivery once, and record how it went.

        Without `again`, it is not tried again if that failed.
        """
        began, at = time.monotonic(), line.timestamp()
        webhook = await self._store.webhooks.get(delivery.webhook)
        code, error, disables, pause_s = None, "", "", 0.0
        try:
            if webhook is None:
                raise _NoMoreError("the webhook was removed")
            answer = await self._deliver(delivery, webhook)
        except _NoMoreError as exc:
            error, disables, again = exc.args[0], exc.disables, False
        except PostError as exc:
            error = str(exc)
        except KocoError as exc:
            error = exc.message
        except Exception as exc:
            # It is recorded as failed: a message that stayed due would be tried again at once.
            log.exception("the message %s could not be sent", delivery.message)
            error = f"it could not be made or sent: {type(exc).__name__}"
        else:
            code = answer.code
            error = _complaint(answer)
            pause_s = retries.retry_after_s(answer.retry_after)
            if code == _GONE:
                disables, again = "its receiver answers that it is gone (410)", False
        self.outcomes["failed" if error else "ok"] += 1
        next_s = retries.pause_s(delivery.tries + 1, pause_s) if error and again else None
        attempt = Attempt(
            at=at,
            took_s=round(time.monotonic() - began, 4),
            code=code,
            error=error,
            again=None if next_s is None else time.time() + next_s,
            disables=disables,
        )
        if error:
            log.info("webhook %s, message %s: %s", delivery.webhook, delivery.message, error)
        await surely(lambda: self._store.deliveries.settle(delivery, attempt))
        return attempt

    async def _deliver(self, delivery: Delivery, webhook: Webhook) -> Answer:
        if webhook.disabled is not None and delivery.event != TEST:
            raise _NoMoreError(f"the webhook is disabled: {webhook.why}")
        await self._require_right(delivery, webhook)
        make = self._contents.get(webhook.kind)
        if make is None:
            raise PostError(f"nothing here makes messages of the kind {webhook.kind!r}")
        content = await make(delivery, webhook)
        if content is None:
            raise _NoMoreError("there is nothing to tell any more")
        headers = self._headers(delivery, webhook, content)
        return await self._post(
            webhook.url, content.body, headers, networks=self._settings.webhook_networks
        )

    def _headers(self, delivery: Delivery, webhook: Webhook, content: Content) -> dict[str, str]:
        secrets = open_secrets(self._vault, webhook)
        now_s = time.time()
        headers = {
            "Content-Type": content.media_type,
            "webhook-id": delivery.message,
            "webhook-timestamp": str(int(now_s)),
        }
        is_rotating = webhook.former_until is not None and webhook.former_until > now_s
        keys = [secrets.secret, *([secrets.former] if is_rotating else [])]
        if any(keys):
            headers["webhook-signature"] = signing.sign(
                [each for each in keys if each],
                message=delivery.message,
                timestamp=int(now_s),
                body=content.body,
            )
        return {**headers, **content.headers, **secrets.headers}

    async def _require_right(self, delivery: Delivery, webhook: Webhook) -> None:
        """Refuse what the webhook's maker may not see any more."""
        maker = await rights.of(self._store, webhook.by)
        if maker is None or maker.maker != webhook.maker:
            what = f"its maker {webhook.by!r} has no access any more"
            raise _NoMoreError(what, disables=what)
        if delivery.fid and not await self._sees(maker, delivery, webhook):
            raise _NoMoreError(f"{webhook.by!r} may not see that execution any more")

    async def _sees(self, maker: Caller, delivery: Delivery, webhook: Webhook) -> bool:
        if not (maker.may("read") and maker.reaches(delivery.flow)):
            return False
        if maker.may("admin") or webhook.user == maker.name:
            return True
        if not webhook.user and webhook.execution is None:
            return False  # only admins hear of everybody's
        return await self._store.executions.find(delivery.fid, maker.sight) is not None


def _places(sent: Delivery | Webhook) -> list[Place]:
    """Return the places that a message takes, or a test of a webhook."""
    webhook = sent.webhook if isinstance(sent, Delivery) else sent.id
    return [("origin", sent.origin), ("webhook", webhook), ("maker", sent.by)]


def _is_full(busy: Counter[Place], place: Place) -> bool:
    return busy[place] >= _MOST[place[0]]


class _NoMoreError(Exception):
    """A message is not sent, and never will be. `disables` says why no other will be, either."""

    def __init__(self, why: str, *, disables: str = "") -> None:
        super().__init__(why)
        self.disables = disables


def _complaint(answer: Answer) -> str:
    """Return what is wrong with an answer, or an empty text."""
    if 200 <= answer.code < 300:
        return ""
    if 300 <= answer.code < 400:
        return f"its receiver answers with a redirect ({answer.code}), which is not followed"
    return f"its receiver answers with status {answer.code}"


def open_secrets(vault: Vault, webhook: Webhook) -> Secrets:
    """Return a webhook's secrets.

    Raises:
        SecretError: they cannot be decrypted.
    """
    if not webhook.sealed:
        return Secrets()
    opened = vault.opener().open(webhook.sealed, seal_name(webhook.id))
    return msgspec.json.decode(opened, type=Secrets)


def seal_name(id_: str) -> str:
    """Return the name under which a webhook's secrets are encrypted."""
    return f"webhook {id_}"
