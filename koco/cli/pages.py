"""Lists that the API returns in pages."""

from collections.abc import Callable
from typing import Any

from koco.errors import AnswerError

#: The maximum number of items in a page of the API.
_PAGE = 1000

#: The maximum number of empty pages in a row: a server could send them without end.
_EMPTY = 10_000


def gather(ask: Callable[..., dict[str, Any]], limit: int, **asked: Any) -> dict[str, Any]:
    """Return `{items, next}` with at most `limit` items, from as many pages as that takes.

    The last page's other fields are kept.

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
    """Tell the user if a page with `limit` items is not the whole list."""
    from koco.cli.terminal import output

    if page["next"]:
        output.note(f"there are more; `--limit` above {limit} shows them")
