"""The messages between a client and a flow, as an execution has them: nothing else is kept.

The first one is its inputs. Each lock is a question of the agent, and its answer the client's.
"""

from collections.abc import Iterable
from typing import Any

from koco.events import line
from koco.store.model import Execution, Lock, masked

#: A message, or a part of one, in JSON.
Json = dict[str, Any]

#: The prefix of the tag that has an execution's context.
CONTEXT = "a2a:"


def context_of(execution: Execution) -> str:
    """Return the id of the context that a task belongs to; its own if it was given none."""
    tags = (tag for tag in execution.tags if tag.startswith(CONTEXT))
    return next(tags, execution.fid).removeprefix(CONTEXT)


def value_part(value: Any) -> Json:
    """Return a part with a value, by its kind: a body of `koco.response`, a text, or data."""
    if isinstance(value, str):
        return text_part(value)
    if isinstance(value, dict) and value.keys() == {"type", "body"}:
        kind, body = value["type"], value["body"]
        if kind in ("markdown", "html", "text") and isinstance(body, str):
            return text_part(body, "text/plain" if kind == "text" else f"text/{kind}")
    return data_part(value)


def text_part(text: str, media_type: str = "text/plain") -> Json:
    """Return a part with a text."""
    return {"text": text, "mediaType": media_type}


def data_part(value: Any) -> Json:
    """Return a part with any JSON."""
    return {"data": value, "mediaType": "application/json"}


def message(execution: Execution, name: str, *parts: Json, is_users: bool = False) -> Json:
    """Return a message of a task. `name` tells it from the task's others, in its id."""
    return {
        "messageId": f"{execution.fid}-{name}",
        "contextId": context_of(execution),
        "taskId": execution.fid,
        "role": "ROLE_USER" if is_users else "ROLE_AGENT",
        "parts": list(parts),
    }


def question(execution: Execution, asked: Iterable[tuple[Lock, Json]]) -> Json:
    """Return the message that asks for the answers to locks, given with what is said of these.

    Each lock has a text and a data part: `{lock, name, data, expires, …}`. An answer is a message
    with the task's id. Its metadata name the `lock` if there are several.
    """
    parts: list[Json] = []
    name = "question"
    for lock, about in asked:
        data = {"lock": lock.lid, "name": lock.name, "data": lock.data}
        data |= {"expires": line.timestamp(lock.expires), **about}
        parts += [text_part(f"{lock.name}?"), data_part(data)]
        name = lock.lid
    return message(execution, name, *parts)


def history(execution: Execution, locks: Iterable[Lock]) -> list[Json]:
    """Return the messages so far, the oldest first. Hidden values are masked."""
    inputs = masked(execution.inputs, execution.hidden)
    found = [message(execution, "inputs", data_part(inputs), is_users=True)]
    for lock in locks:
        found.append(message(execution, lock.lid, text_part(f"{lock.name}?"), data_part(lock.data)))
        if lock.status == "answered":
            part = value_part(masked(lock.answer, lock.hidden))
            found.append(message(execution, f"{lock.lid}-answer", part, is_users=True))
    return found
