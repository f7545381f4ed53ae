"""Lists that the API returns in pages."""

from collections.abc import Callable
from typing import Any, TypeVar

from koco.cli import connection
from koco.cli.terminal import output
from koco.client.answers import Page
from koco.client.exchange.memory_budget import Room
from koco.errors import AnswerError

#: The maximum number of items in a page of the API.
_PAGE = 1000

#: The maximum number of empty pages in a row: a server could send them without end.
_EMPTY = 10_000

List = TypeVar("List", bound=Page[Any])


def gather(ask: Callable[..., List], limit: int, **filters: Any) -> List:
    """Return a page with at most `limit` items, made of as many of the API's pages as that takes.

    The last page's other fields are kept.

    Raises:
        AnswerError: the pages have no end.
    """
    return gather_at(lambda: connection.context().url, ask, limit, filters)


def gather_at(
    url: Callable[[], str], ask: Callable[..., List], limit: int, filters: dict[str, Any]
) -> List:
    """Do the same for the control plane at a URL."""
    items: list[Any] = []
    cursor: str | None = None
    room = Room(items=limit)
    for _ in range(limit + _EMPTY):
        page = ask(limit=min(_PAGE, limit - len(items)), cursor=cursor, room=room, **filters)
        items += page["items"]
        former, cursor = cursor, page["next"]
        if not cursor or len(items) >= limit:
            page["items"] = items
            return page
        if cursor == former:
            break
    raise AnswerError(f"{url()} returns a list that has no end")


def tell_more(page: Page[Any], limit: int) -> None:
    """Tell the user if a page with `limit` items is not the whole list."""
    if page["next"]:
        output.note(f"there are more; `--limit` above {limit} shows them")
