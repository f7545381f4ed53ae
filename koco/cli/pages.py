"""Lists that the API gives page by page."""

from collections.abc import Callable
from typing import Any

from koco.errors import AnswerError

#: The most that the API gives in one page.
_PAGE = 1000

#: Pages without an item, one after the other, at most: a server could go on for ever.
_EMPTY = 10_000


def gather(ask: Callable[..., dict[str, Any]], limit: int, **asked: Any) -> dict[str, Any]:
    """Return `{items, next}` with `limit` items at most, from as many pages as that takes.

    What else the last page says is in it, too.

    Raises:
        AnswerError: the pages have no end.
    """
    from koco.cli import connection
    from koco.client.memory_budget import Room

    items: list[dict[str, Any]] = []
    cursor: str | None = None
    room = Room(items=limit)
    for _ in range(limit + _EMPTY):
        page = ask(limit=min(_PAGE, limit - len(items)), cursor=cursor, room=room, **asked)
        items += page["items"]
        former, cursor = cursor, page["next"]
        if not cursor or len(items) >= limit:
            return {**page, "items": items, "next": cursor}
        if cursor == former:
            break
    raise AnswerError(f"{connection.context().url} gives a list that has no end")


def tell_more(page: dict[str, Any], limit: int) -> None:
    """Say so where a page of so many items is not all."""
    from koco.cli.terminal import output

    if page["next"]:
        output.note(f"there are more; `--limit` above {limit} shows them")
