"""Show, list and cancel tasks, and show the agent's card."""

import re
from datetime import UTC, datetime

from koco.api.agents.a2a import card_keys
from koco.api.agents.a2a.faults import TASK_NOT_CANCELABLE, A2AError, violated
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.reading.requests import ById, GetCard, GetTask, ListTasks
from koco.api.agents.a2a.shapes import cards, tasks
from koco.api.agents.a2a.shapes.messages import CONTEXT, Json, context_of
from koco.api.agents.calls import url_of
from koco.api.http.request import Request
from koco.errors import ConflictError
from koco.store.model import Execution, Filter

#: Where the keys are that cards are signed with.
KEYS = "/.well-known/jwks.json"
_NUMBER = re.compile("[0-9]{1,10}")
#: The largest number of tasks that the protocol can tell: an int32.
_LARGEST = 2**31 - 1


async def get(agent: Agent, asked: GetTask) -> Json:
    """Return a task."""
    execution = await agent.task(asked.id)
    return await agent.view.show(execution, history_length=asked.history_length)


async def cancel(agent: Agent, asked: ById) -> Json:
    """Ask a task to end, and return it as it is then."""
    agent.calls.require_launch("cancel_execution", asked.id)
    execution = await agent.task(asked.id)
    try:
        return await agent.view.show(await agent.calls.cancel(execution.fid))
    except ConflictError as exc:
        raise A2AError(TASK_NOT_CANCELABLE, exc.message, hint=exc.hint) from exc


async def page(agent: Agent, asked: ListTasks) -> Json:
    """Return a page of tasks, the one whose status changed last first.

    `totalSize` counts those that a quarter of a second finds.
    """
    if asked.status and asked.status not in tasks.ALL:
        raise violated("status", f"one of: {', '.join(tasks.ALL)}")
    since = _since(asked.status_timestamp_after)
    cursor, before = _token(asked.page_token)
    wanted = Filter(
        flow=None if agent.entry is None else agent.entry.name,
        statuses=tasks.statuses_of(asked.status),
        tags=(f"{CONTEXT}{asked.context_id}",) if asked.context_id else (),
    )
    found = await agent.parts.store.executions.recent(
        wanted, sight=agent.request.auth.sight, limit=asked.page_size, cursor=cursor or None
    )
    is_nothing = asked.status in tasks.NEVER
    items = [each for each in found.items if agent.has(each) and not is_nothing]
    items += [] if items or cursor else await _alone(agent, asked, wanted)
    shown = [
        await agent.view.show(
            each,
            history_length=asked.history_length or 0,
            has_artifacts=asked.include_artifacts,
        )
        for each in items
    ]
    fresh = [each for each in shown if since is None or _time(each) >= since]
    total = len(items) + found.total - len(found.items) if before is None else before
    is_last = found.next is None or len(fresh) < len(shown)
    return {
        "tasks": fresh,
        "nextPageToken": "" if is_last else f"{found.next}-{total}",
        "pageSize": asked.page_size,
        "totalSize": total,
    }


async def card(agent: Agent, _: GetCard) -> Json:
    """Return the agent's card, as the caller may see it."""
    if agent.entry is not None:
        return _signed(agent.request, cards.of_flow(agent.url, agent.entry))
    return _signed(agent.request, cards.extended(agent.url, [*agent.flows.values()]))


def public_card(request: Request) -> Json:
    """Return the card that everyone may see."""
    return _signed(request, cards.public(url_of(request, "")))


def _signed(request: Request, found: Json) -> Json:
    """Return a card with its signature, if there is a key to sign it with."""
    signer = card_keys.signer_of(request.app.state)
    if signer is None:
        return found
    return signer.sign(found, keys_url=url_of(request, KEYS))


async def _alone(agent: Agent, asked: ListTasks, wanted: Filter) -> list[Execution]:
    """Return the task that is a context of its own, if the context is that of none with its tag.

    Such a task was not begun over A2A.
    """
    if not asked.context_id:
        return []
    try:
        found = await agent.task(asked.context_id)
    except A2AError:
        return []
    fits = not wanted.statuses or found.status in wanted.statuses
    return [found] if fits and context_of(found) == asked.context_id else []


def _token(text: str) -> tuple[str, int | None]:
    """Return the cursor in a page's token, and how many tasks the first page has counted.

    Raises:
        A2AError: no page has had that token.
    """
    if not text:
        return "", None
    cursor, _, total = text.partition("-")
    if not (cursor and _NUMBER.fullmatch(total) and int(total) <= _LARGEST):
        raise violated("pageToken", "must be the nextPageToken of a page")
    return cursor, int(total)


def _since(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise violated(
            "statusTimestampAfter", "must be a time, such as 2026-01-31T12:00:00Z"
        ) from exc
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _time(task: Json) -> datetime:
    return datetime.fromisoformat(task["status"]["timestamp"])
