"""Routes of webhooks, and of the log of their deliveries."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import msgspec
from litestar import Response, delete, get, post
from msgspec import Meta

from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Person, Shape, Time, text
from koco.control.services.secrets import SecretError
from koco.control.webhooks import orders
from koco.errors import ConflictError, LimitError, NotFoundError
from koco.events import line
from koco.store import webhook_model
from koco.store.model import Page
from koco.store.webhook_model import EVENTS, DeliveryFilter, DeliveryStatus
from koco.store.webhooks.webhooks import unknown

#: Caches must not keep secrets.
_PRIVATE = {"Cache-Control": "no-store"}
#: The most deliveries that one request sends again.
_MOST = 1000
#: The largest number of a delivery: that of the store's integers.
_LARGEST = 2**63 - 1

Event = Annotated[str, shapes.enum(*EVENTS)]
Url = Annotated[str, text("https://example.com/hook")]
Secret = Annotated[str, text("whsec_" + "x" * 43 + "=", "shown only in this answer")]


class Webhook(Shape):
    """A webhook, without its secret."""

    name: Annotated[str, text("chat")]
    url: Url
    status: Annotated[
        Literal["active", "failing", "disabled"],
        Meta(description="failing: its last message was not taken; disabled: nothing is sent"),
    ]
    on: tuple[Event, ...]
    flows: shapes.Flows
    all_executions: Annotated[bool, Meta(description="of everybody, or only those of `by`")]
    by: Person
    created: Time
    former_until: Annotated[Time | None, Meta(description="until when its former secret signs")]
    failures: Annotated[int, Meta(description="failed attempts since the last one that succeeded")]
    last_ok: Time | None
    disabled: Time | None
    why: Annotated[str | None, Meta(description="why it was disabled")]

    @classmethod
    def render(cls, webhook: webhook_model.Webhook, **others: Any) -> Self:
        """Return a webhook as answers show it."""
        status = "disabled" if webhook.disabled else "failing" if webhook.failures else "active"
        return cls.of(
            webhook,
            status=status,
            on=webhook.events,
            all_executions=not webhook.user,
            former_until=line.timestamp_if_any(webhook.former_until),
            **others,
        )


class WebhookWithSecret(Webhook):
    """A webhook and its secret, which is shown only this once."""

    secret: Secret


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook to create."""

    name: str
    url: str
    #: The events that it is sent messages about.
    on: tuple[str, ...] = webhook_model.USUAL
    #: Patterns of flows, `service/flow` with `*` for any text. Empty means all.
    flows: tuple[str, ...] = ()
    #: Its secret, `whsec_…`; a new one if it is empty.
    secret: str = ""


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the former secret signs beside the new one (seconds)."""

    grace_s: float = orders.GRACE_S


class Tested(Shape):
    """How a test went: the status code of the receiver's answer, or why there was none."""

    message: Annotated[str, text("msg_5f0c1e0d9b1a4c2f8e7d6a5b")]
    ok: bool
    code: int | None
    error: str | None
    took_s: float


class Delivery(Shape):
    """A message to a webhook: what it tells, and how its last attempt went."""

    id: int
    message: Annotated[str, text("msg_5f0c1e0d9b1a4c2f8e7d6a5b", "`webhook-id`, of all attempts")]
    webhook: Annotated[str | None, Meta(description="null if it is of one execution only")]
    fid: shapes.Fid | None
    flow: shapes.Flow | None
    event: Annotated[str, shapes.enum(*EVENTS, webhook_model.TEST)]
    status: DeliveryStatus
    created: Time
    next: Annotated[Time | None, Meta(description="when it is sent next")]
    tries: int
    last: Time | None
    code: int | None
    error: str | None
    took_s: float | None

    @classmethod
    def render(cls, delivery: webhook_model.Delivery, name: str | None) -> Self:
        """Return a delivery as answers show it; `name` is its webhook's."""
        return cls.of(
            delivery,
            webhook=name,
            fid=delivery.fid or None,
            flow=delivery.flow or None,
            next=line.timestamp_if_any(delivery.due),
        )


class Again(msgspec.Struct, forbid_unknown_fields=True):
    """What to send again: deliveries by their ids, or all of a webhook that have failed."""

    deliveries: tuple[Annotated[int, Meta(ge=1, le=_LARGEST)], ...] = ()
    webhook: str | None = None


class SentAgain(Shape):
    """How many messages are on their way again."""

    count: int


@post(
    "/v1/webhooks",
    guards=[requires("launch")],
    answers={201: Answer(media={JSON: WebhookWithSecret}, headers=["Location"])},
    headers=[idempotency.HEADER],
    errors=[ConflictError, LimitError, SecretError],
)
@idempotency.keyed(has_secret=True)
async def create_webhook(request: Request, data: NewWebhook) -> Response[WebhookWithSecret]:
    """Create a webhook; its secret is in this answer, and never again in any other.

    It hears of the caller's own executions, and an admin's of everybody's.
    """
    audit.add(request, target=data.name)
    webhook, secret = await request.parts.webhooks.create(
        data.name,
        data.url,
        by=request.auth.maker,
        of_all=request.auth.may("admin"),
        events=data.on,
        flows=data.flows,
        secret=data.secret,
    )
    headers = {**_PRIVATE, "Location": f"/v1/webhooks/{quote(webhook.name)}"}
    shown = WebhookWithSecret.render(webhook, secret=secret)
    return Response(shown, status_code=201, headers=headers)


@get("/v1/webhooks", guards=[requires("read")])
async def list_webhooks(
    request: Request, limit: int = 50, cursor: str | None = None
) -> Page[Webhook]:
    """List the caller's webhooks by name; an admin's list has everybody's."""
    list_query.check_limit(limit)
    page = await request.parts.store.webhooks.page(by=_maker(request), limit=limit, cursor=cursor)
    return Page([Webhook.render(each) for each in page.items], page.next)


@get("/v1/webhooks/{name:str}", guards=[requires("read")], errors=[ConflictError])
async def show_webhook(request: Request, name: str) -> Webhook:
    """Show a webhook."""
    return Webhook.render(await _find(request, name))


@delete(
    "/v1/webhooks/{name:str}",
    status_code=200,
    guards=[requires("launch")],
    errors=[ConflictError],
)
async def remove_webhook(request: Request, name: str) -> Webhook:
    """Remove a webhook, its log, and what it has not been told yet."""
    webhook = await _find(request, name)
    await request.parts.store.webhooks.remove(webhook.id)
    return Webhook.render(webhook)


@post(
    "/v1/webhooks/{name:str}/rotate",
    status_code=200,
    guards=[requires("launch")],
    answers={200: WebhookWithSecret},
    headers=[idempotency.HEADER],
    errors=[ConflictError, SecretError],
)
@idempotency.keyed(has_secret=True)
async def rotate_webhook(
    request: Request, name: str, data: SecretRotation
) -> Response[WebhookWithSecret]:
    """Give a webhook a new secret, which is only in this answer.

    For a while, messages have a signature with the former one, too.
    """
    webhook = await _find(request, name)
    webhook, secret = await request.parts.webhooks.rotate(webhook, grace_s=data.grace_s)
    return Response(WebhookWithSecret.render(webhook, secret=secret), headers=_PRIVATE)


@post(
    "/v1/webhooks/{name:str}/test",
    status_code=200,
    guards=[requires("launch")],
    errors=[ConflictError],
)
async def test_webhook(request: Request, name: str) -> Tested:
    """Send a test message now, once, and return how it went.

    If the receiver takes it, a disabled webhook is enabled again.
    """
    webhook = await _find(request, name)
    # Counted as an open stream, because the receiver may take long.
    with request.parts.streams.open(request.auth):
        delivery, attempt = await request.parts.webhooks.test(webhook)
    return Tested(
        message=delivery.message,
        ok=not attempt.error,
        code=attempt.code,
        error=attempt.error or None,
        took_s=attempt.took_s,
    )


@get("/v1/deliveries", guards=[requires("read")], errors=[ConflictError, NotFoundError])
async def list_deliveries(
    request: Request,
    *,
    webhook: str | None = None,
    fid: str | None = None,
    status: DeliveryStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Delivery]:
    """List what the caller's webhooks were told, newest first; an admin's list has all.

    With messages that are still to be sent, and those to webhooks of one execution only.
    """
    list_query.check_limit(limit)
    id_ = None if webhook is None else (await _find(request, webhook)).id
    wanted = DeliveryFilter(webhook=id_, fid=fid, status=status, by=_maker(request))
    page = await request.parts.store.deliveries.page(wanted, limit=limit, cursor=cursor)
    names = await request.parts.store.webhooks.names({each.webhook for each in page.items})
    items = [Delivery.render(each, names.get(each.webhook)) for each in page.items]
    return Page(items, page.next)


@post(
    "/v1/deliveries/redeliver",
    status_code=200,
    guards=[requires("launch")],
    errors=[ConflictError, NotFoundError, LimitError],
)
async def redeliver(request: Request, data: Again) -> SentAgain:
    """Send messages again, now, with the same ids: some, or the failed ones of a webhook.

    Those are a thousand at most; ask again if there are more.
    """
    audit.add(request, target=data.webhook or "", deliveries=list(data.deliveries[:100]))
    if len(data.deliveries) > _MOST:
        raise LimitError(f"at most {_MOST} deliveries at once, got {len(data.deliveries)}")
    deliveries = request.parts.store.deliveries
    if data.webhook is not None:
        webhook = await _find(request, data.webhook)
        _require_enabled(webhook)
        wanted = DeliveryFilter(webhook=webhook.id, status="failed")
        chosen = (await deliveries.page(wanted, limit=_MOST)).items
    else:
        chosen = [await _delivery(request, number) for number in data.deliveries]
    return SentAgain(await request.parts.webhooks.send_again([each.id for each in chosen]))


async def _delivery(request: Request, number: int) -> webhook_model.Delivery:
    found = await request.parts.store.deliveries.get(number)
    webhook = await request.parts.store.webhooks.get(found.webhook)
    if webhook is None or _maker(request) not in (None, webhook.maker):
        raise NotFoundError(f"there is no delivery {number}")
    _require_enabled(webhook)
    return found


def _require_enabled(webhook: webhook_model.Webhook) -> None:
    if webhook.disabled is not None:
        raise ConflictError(
            f"the webhook {webhook.name!r} is disabled: {webhook.why}",
            hint=f"`koco webhook test {webhook.name}` enables it, if its receiver takes the test",
        )


def _maker(request: Request) -> webhook_model.Maker | None:
    """Return whose webhooks the caller may see, or None for all."""
    return None if request.auth.may("admin") else request.auth.maker


async def _find(request: Request, name: str) -> webhook_model.Webhook:
    """Return a webhook that the caller may see: the own one, or for an admin the only one.

    An admin may put its maker before the name: `ada:chat`.

    Raises:
        NotFoundError: there is none.
        ConflictError: several makers have one of that name.
    """
    by, _, name_of_it = name.rpartition(":")
    found = await request.parts.store.webhooks.called(name_of_it)
    seen = [each for each in found if _maker(request) in (None, each.maker)]
    if by:
        seen = [each for each in seen if each.by == by]
        # The present key's or user's before those of former ones.
        seen = sorted(seen, key=lambda each: each.made)[-1:]
    elif own := [each for each in seen if each.maker == request.auth.maker]:
        seen = own
    if not seen:
        raise unknown(name)
    if len(seen) > 1:
        names = ", ".join(f"{each.by}:{each.name}" for each in seen[:10])
        raise ConflictError(f"several makers have a webhook {name!r}", hint=f"one of: {names}")
    return seen[0]


ROUTES = (
    create_webhook,
    list_webhooks,
    show_webhook,
    remove_webhook,
    rotate_webhook,
    test_webhook,
    list_deliveries,
    redeliver,
)
