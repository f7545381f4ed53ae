"""What is sent to the URLs of push notification configurations: an update of the task, or the task.

A task that is over is sent whole, with what it has made, unless that is too large.
"""

from typing import Any

import msgspec

from koco.api.agents.a2a.answers import A2A
from koco.api.agents.a2a.operations.view import View
from koco.api.agents.a2a.shapes import cards, messages, tasks
from koco.api.agents.a2a.shapes.messages import Json
from koco.control.container import Parts
from koco.control.webhooks.content import Content
from koco.errors import NotFoundError
from koco.events.model import Status
from koco.store.webhook_model import Delivery, Webhook

#: The largest task that is sent (bytes); of a larger one, only its status is.
_LARGEST_BYTES = 1024 * 1024


async def make(parts: Parts, delivery: Delivery, webhook: Webhook) -> Content | None:
    """Return the content of a delivery; None if its execution was deleted."""
    view = View(parts, parts.url, user=webhook.by)
    try:
        found = await _update(parts, view, delivery)
    except NotFoundError:
        return None
    headers = {"A2A-Version": cards.VERSION}
    return Content(msgspec.json.encode(found), media_type=A2A, headers=headers)


async def _update(parts: Parts, view: View, delivery: Delivery) -> Json:
    execution = await parts.store.executions.get(delivery.fid)
    now = Status(delivery.event)
    message: Any = None
    if now.is_final:
        task = {"task": await view.show(execution, history_length=0)}
        if len(msgspec.json.encode(task)) <= _LARGEST_BYTES:
            return task
        message = tasks.failure(execution)
    elif delivery.lid:
        message = await view.question(execution, [await parts.store.locks.get(delivery.lid)])
    return {
        "statusUpdate": {
            "taskId": execution.fid,
            "contextId": messages.context_of(execution),
            "status": tasks.status(now, delivery.created, message),
        }
    }
