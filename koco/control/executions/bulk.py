"""Do something to many executions, in pieces that each take a limited time.

The caller repeats the request with `next` until that is None. What was done stays done if it stops
in between.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from koco.errors import (
    ConflictError,
    KocoError,
    NotAllowedError,
    NotFoundError,
    RetriedError,
    UnauthorizedError,
    UsageError,
)
from koco.store.errors import invalid_cursor
from koco.store.model import Execution, Filter, Sight
from koco.store.store import Store

#: The time limit of a piece (seconds). One execution more may follow.
_BUDGET_S = 5.0
#: How many are worked on at once, so that one commit serves several.
_TOGETHER = 10
#: How many executions of a filter are read at once.
_PAGE = 100

#: The errors that are about one execution. The others are left for later.
_ITS_OWN = (UsageError, NotFoundError, NotAllowedError)

#: Does something to an execution.
Act = Callable[[Execution], Awaitable[object]]
#: An execution, the name of a missing one with the reason, or None if a page has none; then the
#: cursor after it.
_Found = tuple[Execution | tuple[str, KocoError] | None, str | None]


class Skipped(msgspec.Struct, frozen=True):
    """An execution to which nothing was done, and why: the code and message of an error.

    `new` is the execution that was launched for it before.
    """

    fid: str
    code: str
    reason: str
    new: str | None = None


class Done(msgspec.Struct, frozen=True):
    """A piece of work: the fids of executions to which it was done. `next` continues it."""

    done: list[str]
    skipped: list[Skipped]
    next: str | None


async def act_on_all(
    store: Store,
    selection: Sequence[str] | Filter,
    act: Act,
    *,
    sight: Sight,
    limit: int,
    cursor: str | None,
) -> Done:
    """Do something to the selected executions in sight, up to `limit` of them.

    `selection` has names (fids, or unique prefixes of them) or is a filter. Executions are skipped
    if they do not exist, or if `act` refuses them. If `act` fails for another reason, such as a
    full queue, the piece ends before that execution.

    Raises:
        UsageError: the cursor is invalid.
        KocoError: `act` failed at the first execution.
    """
    found = (
        _matching(store, selection, sight, cursor)
        if isinstance(selection, Filter)
        else _named(store, selection, sight, cursor)
    )
    done: list[str] = []
    skipped: list[Skipped] = []
    before, until_s = cursor, time.monotonic() + _BUDGET_S
    most = 1  # the first one alone: a piece that ends early has done something, and has a cursor
    while True:
        batch = [each async for each in _take(found, most)]
        outcomes = await asyncio.gather(*(_attempt(act, each) for each, _ in batch))
        done += [each for each in outcomes if isinstance(each, str)]
        skipped += [each for each in outcomes if isinstance(each, Skipped)]
        for (_, after), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, KocoError):
                if not (done or skipped):
                    raise outcome
                return Done(done, skipped, before)
            before = after
        left = limit - len(done) - len(skipped)
        if len(batch) < most or before is None:
            return Done(done, skipped, None)
        if left <= 0 or time.monotonic() > until_s:
            return Done(done, skipped, before)
        most = min(_TOGETHER, left)


async def _take(found: AsyncIterator[_Found], most: int) -> AsyncIterator[_Found]:
    """Yield the next ones, up to a number of them."""
    for _ in range(most):
        try:
            yield await anext(found)
        except StopAsyncIteration:
            return


async def _attempt(
    act: Act, each: Execution | tuple[str, KocoError] | None
) -> str | Skipped | KocoError | None:
    """Do something to an execution; return its fid, why it is skipped, or why it is left."""
    if each is None:
        return None
    if not isinstance(each, Execution):
        name, error = each
        return Skipped(name, error.code, error.message)
    try:
        await act(each)
    except UnauthorizedError as exc:
        return exc
    except _ITS_OWN as exc:
        new = exc.new if isinstance(exc, RetriedError) else None
        return Skipped(each.fid, exc.code, exc.message, new)
    except KocoError as exc:
        return exc
    return each.fid


async def _named(
    store: Store, names: Sequence[str], sight: Sight, cursor: str | None
) -> AsyncIterator[_Found]:
    """Yield executions by name. The cursor is the number of names before it."""
    start = _number(cursor)
    for number, name in enumerate(names[start:], start + 1):
        after = str(number) if number < len(names) else None
        try:
            if name == "latest":
                # Another execution is the latest after each that is deleted.
                raise NotFoundError("`latest` is not accepted for several executions")
            yield await store.executions.get(name, sight), after
        except (NotFoundError, ConflictError) as exc:
            yield (name, exc), after


async def _matching(
    store: Store, wanted: Filter, sight: Sight, cursor: str | None
) -> AsyncIterator[_Found]:
    """Yield the executions that match a filter, newest first. The cursor is that of their list."""
    while True:
        page = await store.executions.page(wanted, sight=sight, limit=_PAGE, cursor=cursor)
        last = page.items[-1] if page.items else None
        for each in page.items:
            yield each, page.next if each is last else str(each.id)
        if last is None and page.next is not None:
            yield None, page.next
        if (cursor := page.next) is None:
            return


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise invalid_cursor(cursor[:80])
    return int(cursor)
