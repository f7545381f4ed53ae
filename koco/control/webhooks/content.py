"""The content of messages: an envelope as Standard Webhooks suggests, with what fits into it."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from koco.errors import NotFoundError
from koco.events import line
from koco.events.model import Status
from koco.store.store import Store
from koco.store.webhook_model import TEST, Delivery, Webhook

#: The largest result, or data of a lock, that a message has (bytes of JSON). Receivers take more
#: with reluctance, and can fetch it.
LARGEST_BYTES = 20_000


class Content(NamedTuple):
    """The content of a message, and headers that go with it."""

    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


#: Makes the content of a delivery to a webhook; None if there is nothing to send any more.
MakeContent = Callable[[Delivery, Webhook], Awaitable[Content | None]]


class Contents:
    """Makes the content of koco's own webhooks; `url` is the control plane's."""

    def __init__(self, store: Store, *, url: str) -> None:
        self._store = store
        self._url = url

    async def make(self, delivery: Delivery, webhook: Webhook) -> Content:
        """Return the content of a delivery."""
        if delivery.event == TEST:
            data: dict[str, Any] = {"webhook": webhook.name}
            return _envelope("webhook.test", delivery, data)
        data = {
            "fid": delivery.fid,
            "flow": delivery.flow,
            "status": delivery.event,
            "url": f"{self._url}/v1/executions/{delivery.fid}",
        }
        with contextlib.suppress(NotFoundError):  # if it was deleted, it still has ended
            data |= await self._more(delivery)
        return _envelope(f"execution.{delivery.event}", delivery, data)

    async def _more(self, delivery: Delivery) -> dict[str, Any]:
        is_final = Status(delivery.event).is_final
        snapshot = await self._store.snapshots.get(delivery.fid, outcome=is_final, locks=False)
        execution = snapshot.execution
        found: dict[str, Any] = {"user": execution.user, "release": execution.release}
        if delivery.lid:
            return {**found, "lock": await self._lock(delivery)}
        if execution.error is not None and is_final:
            found["error"] = execution.error
        if execution.status is Status.FINISHED and (text := snapshot.outcome_line) is not None:
            found |= _if_small("result", line.payload_of(text))
        return found

    async def _lock(self, delivery: Delivery) -> dict[str, Any]:
        lock = await self._store.locks.get(delivery.lid)
        return {
            "lid": lock.lid,
            "name": lock.name,
            "expires": line.timestamp(lock.expires),
            "url": f"{self._url}/v1/executions/{lock.fid}/locks/{lock.lid}",
            **_if_small("data", line.encode_payload(lock.data)),
        }


def _if_small(name: str, value: bytes) -> dict[str, Any]:
    """Return a member with a value, or one that says that it was left out."""
    if len(value) > LARGEST_BYTES:
        return {f"{name}_omitted": True}
    return {name: msgspec.Raw(value)}


def _envelope(kind: str, delivery: Delivery, data: dict[str, Any]) -> Content:
    return Content(msgspec.json.encode({"type": kind, "timestamp": delivery.created, "data": data}))
