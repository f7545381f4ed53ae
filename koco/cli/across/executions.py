"""`koco ps --contexts`: the executions of several control planes as one list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from koco.cli import pages
from koco.cli.across import places
from koco.client.answers import Executions
from koco.client.client import Client
from koco.client.context_file import Context


@dataclass(frozen=True)
class Found:
    """A list in the form of a page, and what each control plane has answered."""

    page: Executions
    answers: list[places.Answer[Executions]]

    def to_json(self) -> dict[str, Any]:
        """Return the page with its `contexts`."""
        return {**self.page, "contexts": [each.to_json() for each in self.answers]}


def gather(contexts: Sequence[Context], limit: int, filters: dict[str, Any]) -> Found:
    """Return at most `limit` executions of all contexts, newest first, each with its `context`.

    `next` is None if these are all, otherwise the time before which there are more.
    """

    def ask(client: Client) -> Executions:
        return pages.gather_at(lambda: client.url, client.executions, limit, filters)

    answers = places.ask(contexts, ask, away_s=0.0)
    given = [(each.context.name, each.value) for each in answers if each.value is not None]
    items: list[Any] = [
        # First, and ours: a control plane must not name another one.
        {"context": "", **execution} | {"context": name}
        for name, page in given
        for execution in page["items"]
    ]
    items.sort(key=lambda item: datetime.fromisoformat(item["created"]), reverse=True)
    is_whole = len(items) <= limit and not any(page["next"] for _, page in given)
    items = items[:limit]
    page: Any = {"items": items, "next": None if is_whole else items[-1]["created"]}
    if complete := [value["complete"] for _, value in given if "complete" in value]:
        page["complete"] = all(complete)
    return Found(page, answers)
