"""Where the updates of tasks are sent: push notification configurations.

Each is a webhook of the kind `a2a` of its execution, whose name is the configuration's id. The
sender is that of all webhooks; `notices` makes what it sends.
"""

import secrets

from koco.api.agents.a2a.faults import TASK_NOT_FOUND, A2AError, violated
from koco.api.agents.a2a.operations.agent import PROTOCOL, Agent
from koco.api.agents.a2a.reading.requests import (
    ByPushConfig,
    ListPushConfigs,
    NewPushConfig,
    PushConfig,
)
from koco.api.agents.a2a.shapes.messages import Json
from koco.control.webhooks import orders
from koco.errors import UsageError
from koco.store.model import Execution
from koco.store.webhook_model import EVENTS, Webhook

#: The header with the token that a client has chosen to know its notifications by.
_TOKEN = "X-A2A-Notification-Token"
#: The longest id (characters).
_LONGEST = 200


async def make(agent: Agent, asked: PushConfig) -> Webhook:
    """Return the webhook of a configuration, which is not stored yet.

    Raises:
        A2AError: its URL, its id or what it proves itself with is not valid.
    """
    if len(asked.id) > _LONGEST or not asked.id.isprintable():
        raise violated("id", f"must have at most {_LONGEST} printable characters")
    headers = _headers(asked)
    try:
        webhook, _ = await agent.parts.webhooks.make(
            PROTOCOL,
            asked.url,
            by=agent.request.auth.maker,
            name=asked.id or secrets.token_hex(8),
            events=EVENTS,
            headers=headers,
            signed=False,
        )
    except UsageError as exc:
        raise violated("url", exc.message, hint=exc.hint) from exc
    return webhook


def _headers(asked: PushConfig) -> dict[str, str]:
    """Return what a configuration's notifications prove themselves with."""
    headers: dict[str, str] = {}
    if asked.token:
        headers |= _checked("token", _TOKEN, asked.token)
    if asked.authentication is not None:
        scheme, credentials = asked.authentication.scheme, asked.authentication.credentials
        value = f"{scheme} {credentials}".rstrip()
        headers |= _checked("authentication", "Authorization", value)
    return headers


def _checked(field: str, header: str, value: str) -> dict[str, str]:
    try:
        return orders.check_headers({header: value})
    except UsageError as exc:
        raise violated(field, exc.message, hint=exc.hint) from exc


async def add(agent: Agent, execution: Execution, asked: PushConfig) -> Json:
    """Add a configuration to a task, or replace the caller's of its id."""
    webhook = await make(agent, asked)
    await agent.parts.store.webhooks.add_to(execution.id, webhook)
    return _shown(execution, webhook)


async def create(agent: Agent, asked: NewPushConfig) -> Json:
    """Add a configuration, and return it."""
    agent.calls.require_launch("add_push_config", asked.task_id)
    return await add(agent, await agent.task(asked.task_id), asked)


async def get(agent: Agent, asked: ByPushConfig) -> Json:
    """Return a configuration."""
    execution = await agent.task(asked.task_id)
    for each in await _own(agent, execution):
        if each.name == asked.id:
            return _shown(execution, each)
    raise A2AError(
        TASK_NOT_FOUND, f"the task has no push notification configuration {asked.id[:80]!r}"
    )


async def page(agent: Agent, asked: ListPushConfigs) -> Json:
    """Return the caller's configurations of a task. There are few, so it is one page."""
    execution = await agent.task(asked.task_id)
    found = await _own(agent, execution)
    return {"configs": [_shown(execution, each) for each in found], "nextPageToken": ""}


async def delete(agent: Agent, asked: ByPushConfig) -> Json:
    """Remove a configuration, if it is there."""
    agent.calls.require_launch("remove_push_config", f"{asked.task_id}/{asked.id}")
    execution = await agent.task(asked.task_id)
    for each in await _own(agent, execution):
        if each.name == asked.id:
            await agent.parts.store.webhooks.remove(each.id)
    return {}


async def _own(agent: Agent, execution: Execution) -> list[Webhook]:
    """Return the caller's configurations. Those of others, with their URLs, do not exist."""
    by = agent.request.auth.maker
    return await agent.parts.store.webhooks.of(execution.id, kind=PROTOCOL, by=by)


def _shown(execution: Execution, webhook: Webhook) -> Json:
    """Return a configuration as clients see it: without what it proves itself with."""
    return {"id": webhook.name, "taskId": execution.fid, "url": webhook.url}
