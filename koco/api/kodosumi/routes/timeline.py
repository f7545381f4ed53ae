"""The timeline: the caller's own executions, newest first, and their changes since a time."""

import time
from functools import partial
from typing import Any, Literal

import msgspec
from litestar import get

from koco.api.http.request import Request
from koco.api.kodosumi.change_clock import ChangeClock
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes import facts, records
from koco.api.kodosumi.shapes.records import Record
from koco.errors import KocoError, UsageError
from koco.forms import off_loop
from koco.store.errors import NoSearchError
from koco.store.model import Execution, Filter, Sight
from koco.store.sql import pages

_LARGEST_PAGE = 1000
#: How long one request searches (seconds). Its page may then have fewer records, or none.
_SEARCH_S = 1.0
#: How many executions are read at once, and how many changes a request returns at most.
_PIECE, _MOST_CHANGES = 100, 5000
_LONGEST_QUERY = 1000


class Timeline(msgspec.Struct):
    """A page of records. `offset` is where the next page goes on, null at the end."""

    items: list[Record]
    query: str | None
    offset: str | None


class Changes(msgspec.Struct):
    """The records that are new or differ, and fids that are gone. `timestamp` is for `since`."""

    update: list[Record]
    delete: list[str]
    timestamp: float
    query: str | None


@get("/timeline/list", guards=[requires("read")])
async def list_executions(
    request: Request, pp: int = 10, q: str | None = None, offset: str | None = None
) -> Timeline:
    """List the caller's executions, newest first, after the fid `offset`."""
    items, rest = await _page(request, pp, q, offset)
    return Timeline(items, q, rest)


@get("/timeline/changes", guards=[requires("read")])
async def list_changes(
    request: Request, since: float | None = None, q: str | None = None
) -> Changes:
    """List the caller's executions that have changed since a time (seconds since the epoch).

    Without `since` only the current time is returned.
    """
    _check_query(q)
    changed, _ = await _changes(request, since, q)
    return changed


@get("/timeline", guards=[requires("read")])
async def show_timeline(
    request: Request,
    *,
    mode: Literal["next", "update"] = "next",
    pp: int = 10,
    q: str | None = None,
    origin: str | None = None,
    offset: str | None = None,
    timestamp: float | None = None,
) -> dict[str, Any]:
    """Return the next page, with new executions and changes since `timestamp`."""
    parts, sight = request.parts, _own(request)
    append, rest = await _page(request, pp, q, offset) if mode == "next" else ([], offset)
    changed, numbers = await _changes(request, timestamp, q)
    newest = await parts.store.executions.page(sight=sight, limit=1)
    begin = await _id_of(request, origin) if origin else None
    shown = {each.fid for each in append}
    insert: list[Record] = []
    update: list[Record] = []
    for each in changed.update:
        is_new = begin is not None and numbers[each.fid] > begin
        if each.fid not in shown:
            (insert if is_new else update).append(each)
    counts = await parts.store.executions.count_by_status(sight)
    return {
        "total": sum(counts.values()) + sum(each.finish is not None for each in append),
        "origin": newest.items[0].fid if newest.items else origin,
        "offset": rest,
        "timestamp": changed.timestamp,
        "items": {
            "append": append,
            "insert": insert,
            "update": update,
            "delete": changed.delete,
        },
        "query": q,
    }


def _own(request: Request) -> Sight:
    """Return the sight of the caller's own executions. A timeline has no others for anybody."""
    return Sight(request.auth.name, request.auth.flows)


def _check_query(q: str | None) -> None:
    if q is not None and len(q) > _LONGEST_QUERY:
        raise UsageError(f"q has {_LONGEST_QUERY} characters at most, this one {len(q)}")


async def _id_of(request: Request, fid: str) -> int | None:
    """Return the number of one of the caller's executions, or None if it is gone."""
    try:
        return (await request.parts.store.executions.get(fid, _own(request))).id
    except KocoError:
        return None


async def _page(
    request: Request, pp: int, q: str | None, offset: str | None
) -> tuple[list[Record], str | None]:
    """Return a page of records, and the offset of the next one."""
    if not 1 <= pp <= _LARGEST_PAGE:
        raise UsageError(f"pp must be from 1 to {_LARGEST_PAGE}, got {pp}")
    _check_query(q)
    parts = request.parts
    cursor = None
    if offset:
        cursor = str((await parts.store.executions.get(offset, _own(request))).id)
    found = await _found_by_index(request, q)
    until = time.monotonic() + _SEARCH_S
    items: list[Record] = []
    flows: facts.Flows = {}
    while True:
        page = await parts.store.executions.page(
            sight=_own(request), limit=_PIECE if q else pp, cursor=cursor
        )
        for at, each in enumerate(page.items):
            about = await facts.read(parts, each, flows)
            if q is None or each.fid in found or await _matches(q, each, about):
                items.append(await records.render(parts, each, about))
            has_more = at + 1 < len(page.items) or page.next is not None
            if len(items) == pp or (q and time.monotonic() > until):
                return items, each.fid if has_more else None
        cursor = page.next
        if cursor is None:
            return items, None


async def _matches(q: str, execution: Execution, about: facts.Facts) -> bool:
    """Whether a text occurs in an execution: see `records`. Large inputs are searched apart."""
    is_quick = off_loop.is_small(execution.inputs)
    return await off_loop.run_check(
        partial(records.matches, q, execution, about), is_quick=is_quick
    )


async def _found_by_index(request: Request, q: str | None) -> frozenset[str]:
    """Return the newest executions with the words of a search in their results or errors."""
    if not q:
        return frozenset()
    try:
        page = await request.parts.store.executions.page(
            Filter(search=q), sight=_own(request), limit=_PIECE
        )
    except (NoSearchError, UsageError):
        return frozenset()  # no words, or a store that cannot search: metadata and inputs count
    return frozenset(each.fid for each in page.items)


async def _changes(
    request: Request, since: float | None, q: str | None
) -> tuple[Changes, dict[str, int]]:
    """Return the changes since a time, and the numbers of the changed executions by fid."""
    parts = request.parts
    clock: ChangeClock = request.app.state.setdefault("kodosumi_clock", ChangeClock())
    if since is None:
        latest = pages.number(await parts.store.changes.latest())
        return Changes([], [], clock.note(latest), q), {}
    number = clock.number_at(since)
    cursor: str | None = None if number is None else str(number)
    updated: list[Execution] = []
    deleted: list[str] = []
    while len(updated) < _MOST_CHANGES:
        page = await parts.store.changes.page(cursor=cursor, sight=_own(request), limit=_PIECE)
        cursor = page.next
        for change in page.items:
            if change.execution is None:
                deleted.append(change.fid)
            elif number is not None or _is_since(change.execution, since):
                updated.append(change.execution)
        if page.is_last:
            break
    flows: facts.Flows = {}
    found = [(each, await facts.read(parts, each, flows)) for each in updated]
    fits = [pair for pair in found if q is None or await _matches(q, *pair)]
    items = [await records.render(parts, each, about) for each, about in fits]
    changes = Changes(items, deleted, clock.note(pages.number(cursor or "0")), q)
    return changes, {each.fid: each.id for each, _ in fits}


def _is_since(execution: Execution, since: float) -> bool:
    """Whether an execution may have changed since a time, if the feed does not say."""
    stamps = (execution.created, execution.started, execution.finished)
    latest = max(facts.seconds(each) for each in stamps if each)
    return not execution.status.is_final or latest >= since


ROUTES = (list_changes, list_executions, show_timeline)
