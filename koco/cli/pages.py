"""Lists that the API gives page by page."""

from collections.abc import Callable
from typing import Any

#: The most that the API gives in one page.
_PAGE = 1000


def gather(ask: Callable[..., dict[str, Any]], limit: int, **asked: Any) -> dict[str, Any]:
    """Return `{items, next}` with `limit` items at most, from as many pages as that takes.

    What else the last page says is in it, too.
    """
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = ask(limit=min(_PAGE, limit - len(items)), cursor=cursor, **asked)
        items += page["items"]
        cursor = page["next"]
        if not cursor or len(items) >= limit:
            return {**page, "items": items, "next": cursor}


def tell_more(page: dict[str, Any], limit: int) -> None:
    """Say so where a page of so many items is not all."""
    from koco.cli import output

    if page["next"]:
        output.note(f"there are more; `--limit` above {limit} shows them")
