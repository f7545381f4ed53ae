"""The events of many executions as one stream, in the order of their times.

One task reads for one client. It is woken by commits, and reads only those executions that have
something new, so idle ones cost nothing. What it keeps in memory is bounded, however many
executions there are: see `_ALL_BYTES`. If its client is slow, it waits.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass

import msgspec

from koco.control.events import many_cursor
from koco.control.events.chunk_reader import Pieces, Wanted
from koco.control.events.many_cursor import Position
from koco.control.events.member import Line, Member
from koco.control.events.spooler import ANY, Spooler
from koco.errors import TooManyError
from koco.events.model import OPEN
from koco.store.model import EVERYTHING, Execution, Filter, Sight
from koco.store.store import Store

#: The most executions in one stream.
MOST = 5000
#: How much of all executions together is kept in memory, and at least of each (bytes).
_ALL_BYTES = 8 * 1024 * 1024
_EACH_BYTES = 4 * 1024
#: How much is sent at once (bytes).
_PIECE_BYTES = 64 * 1024
#: How many executions are looked up at once.
_PAGE = 200
#: The shortest time between two rounds of reading, and its increase for each further reader of this
#: kind (seconds). The events of a round are sorted by time.
_PACE_S = 0.05
_PACE_EACH_S = 0.002
#: How often the position is sent (seconds).
_MARK_S = 1.0
#: How long a search works before it gives way to others, and before it must be continued by another
#: request (seconds).
_TURN_S = 0.005
_SEARCH_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The executions of a stream: a filter, or fixed ones if it is None. And what is sent of them.

    With `follow` the stream goes on, and executions that come to match the filter join it.
    """

    filter: Filter | None
    sight: Sight = EVERYTHING
    events: Wanted = Wanted()  # noqa: RUF009 - it is immutable
    follow: bool = False


@dataclass(frozen=True)
class Form:
    """How lines and marks are sent. `begin` takes the start of an execution's lines, and a line."""

    begin: Callable[[bytes, Line], bytes]
    end: bytes
    mark: Callable[[str, bool], bytes]


def _mark(cursor: str, is_end: bool) -> bytes:
    return msgspec.json.encode({"cursor": cursor, "end": is_end})


NDJSON = Form(
    begin=lambda start, line: start + line.text[1:],
    end=b"\n",
    mark=lambda cursor, is_end: _mark(cursor, is_end) + b"\n",
)
SSE = Form(
    begin=lambda start, line: b"event: %b\ndata: %b%b" % (line.kind, start, line.text[1:]),
    end=b"\n\n",
    mark=lambda cursor, is_end: (
        b"id: %b\nevent: mark\ndata: %b\n\n" % (cursor.encode(), _mark(cursor, is_end))
    ),
)


async def select(store: Store, selection: Selection) -> list[Execution]:
    """Return the executions that match a selection's filter now, oldest first.

    If it follows, those are left out that had ended before, unless it names a time.

    Raises:
        TooManyError: more match than one stream may have.
    """
    wanted = selection.filter
    assert wanted is not None
    if selection.follow and wanted.since is None:
        statuses = tuple(each for each in OPEN if each in (wanted.statuses or OPEN))
        if not statuses:
            return []
        wanted = msgspec.structs.replace(wanted, statuses=statuses)
    found: list[Execution] = []
    cursor: str | None = None
    while True:
        page = await store.executions.page(
            wanted, sight=selection.sight, limit=_PAGE, cursor=cursor
        )
        found += map(_without_inputs, page.items)
        if len(found) > MOST:
            raise _too_many()
        if (cursor := page.next) is None:
            return found[::-1]


def _without_inputs(execution: Execution) -> Execution:
    """Return an execution as far as its stream needs it: its inputs may be large."""
    return msgspec.structs.replace(execution, inputs={}, moments=[])


def _too_many() -> TooManyError:
    return TooManyError(
        f"more than {MOST} executions match, and one stream has {MOST} at most",
        hint="name a flow, a service or a time (`since`)",
    )


async def resume(store: Store, selection: Selection, position: Position) -> list[Member]:
    """Return the executions of a former stream's position, as far as they may still be seen."""
    # Not by status, because that may have changed since they joined.
    wanted = msgspec.structs.replace(selection.filter or Filter(), statuses=())
    ids, members = list(position.seqs), []
    for at in range(0, len(ids), _PAGE):
        found = await store.executions.numbered(ids[at : at + _PAGE], wanted, sight=selection.sight)
        members += [Member(each, since=position.seqs[each.id]) for each in found]
        await asyncio.sleep(0)
    return members


class _Bell:
    """Notes that an execution has something new."""

    def __init__(self, news: dict[int, Member], member: Member, event: asyncio.Event) -> None:
        self._news = news
        self._member = member
        self._event = event

    def set(self) -> None:
        """Called by the spooler, after each commit."""
        self._news[self._member.id] = self._member
        self._event.set()


class Many:
    """One client's stream."""

    def __init__(
        self,
        store: Store,
        spooler: Spooler,
        selection: Selection,
        form: Form,
        *,
        members: Iterable[Member],
        change: int,
        heartbeat_s: float,
        is_new: bool = True,
    ) -> None:
        """`change` is a position in the feed of changes, from before `members` were selected.

        `is_new` is false if the stream continues another one.
        """
        self._store = store
        self._spooler = spooler
        self._selection = selection
        self._form = form
        self._heartbeat_s = heartbeat_s
        self._pieces = Pieces(store)
        self._change = change
        self._is_new = is_new
        self._event = asyncio.Event()
        self._members: dict[int, Member] = {}
        self._bells: dict[int, _Bell] = {}
        #: Executions with something new, and those that were not read yet, by their beginning.
        self._news: dict[int, Member] = {}
        self._waiting: deque[Member] = deque()
        #: Those of which lines are in memory, by the time of the next one.
        self._ready: list[tuple[bytes, int, Member]] = []
        #: The last event of executions that have ended, until the feed of changes has said so.
        self._over: dict[int, int] = {}
        self._marked = time.monotonic()
        self._has_unmarked = False
        self._worked_s = self._turn_s = 0.0
        for member in sorted(members, key=lambda each: each.created):
            self._add(member)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream; the last mark says that it is complete, unless it was interrupted."""
        follows = self._selection.follow
        if follows and self._selection.filter is not None:
            self._spooler.watch(ANY, self._event)
        if self._is_new:
            # At once, so that a connection that breaks soon can be continued, too.
            yield self._mark()
        try:
            while True:
                self._event.clear()
                began = time.monotonic()
                if follows:
                    await self._join()
                async for piece in self._drain():
                    yield piece
                if self._is_over or self._is_late:
                    yield self._mark(is_end=self._is_over)
                    return
                if self._spooler.is_dismissed:
                    return
                if self._is_mark_due:
                    yield self._mark()
                if not await self._wait():
                    yield self._mark()
                pace_s = _PACE_S + _PACE_EACH_S * self._spooler.readers(ANY)
                await asyncio.sleep(max(0.0, began + pace_s - time.monotonic()))
        finally:
            self._spooler.unwatch(ANY, self._event)
            for member in list(self._members.values()):
                self._leave(member)

    @property
    def _is_over(self) -> bool:
        """Whether nothing more will come."""
        goes_on = self._selection.follow and self._selection.filter is not None
        return not (self._members or goes_on)

    @property
    def _is_late(self) -> bool:
        """Whether a search has worked for so long that its client must ask again."""
        return not self._selection.follow and self._worked_s > _SEARCH_S

    @property
    def _is_mark_due(self) -> bool:
        return self._has_unmarked and time.monotonic() > self._marked + _MARK_S

    async def _wait(self) -> bool:
        """Wait for something new; False if it is time for a mark."""
        until_s = _MARK_S if self._has_unmarked else self._heartbeat_s
        try:
            async with asyncio.timeout(until_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def _mark(self, *, is_end: bool = False) -> bytes:
        """Return a mark with the present position."""
        self._marked, self._has_unmarked = time.monotonic(), False
        seqs = {each.id: each.sent for each in self._members.values()}
        cursor = many_cursor.encode(Position(self._change, self._over | seqs))
        return self._form.mark(cursor, is_end)

    # who is in the stream

    def _add(self, member: Member) -> None:
        if member.has_ended:
            self._over[member.id] = member.sent
            return
        self._members[member.id] = member
        self._waiting.append(member)
        if self._selection.follow:
            bell = self._bells[member.id] = _Bell(self._news, member, self._event)
            self._spooler.watch(member.fid, bell)

    def _leave(self, member: Member) -> None:
        self._members.pop(member.id, None)
        self._news.pop(member.id, None)
        if (bell := self._bells.pop(member.id, None)) is not None:
            self._spooler.unwatch(member.fid, bell)

    async def _join(self) -> None:
        """Add the executions that have come to match the filter."""
        wanted, sight = self._selection.filter, self._selection.sight
        if wanted is None:
            return
        while str(self._change) != await self._store.changes.latest():
            cursor = str(self._change)
            page = await self._store.changes.page(cursor=cursor, sight=sight, limit=_PAGE)
            self._change = int(page.next)
            changed = [each.execution.id for each in page.items if each.execution is not None]
            new = [each for each in changed if each not in self._members and each not in self._over]
            for found in await self._store.executions.numbered(new, wanted, sight=sight):
                self._add(Member(_without_inputs(found)))
            if len(self._members) > MOST:
                raise _too_many()
            await asyncio.sleep(0)
        # An end is committed together with its change, so the feed has told all of these ends.
        self._over.clear()

    # reading, in the order of time

    async def _drain(self) -> AsyncGenerator[bytes, None]:
        """Yield everything that there is now."""
        sent: list[bytes] = []
        size = 0
        while not self._is_late:
            await self._read_news()
            if not self._ready:
                break
            _, _, member = heapq.heappop(self._ready)
            async for part in self._lines(member):
                sent.append(part)
                size += len(part)
                if size > _PIECE_BYTES:
                    yield b"".join(sent)
                    sent, size = [], 0
            await self._read(member)
            if self._is_mark_due:
                sent.append(self._mark())
        if sent:
            yield b"".join(sent)

    async def _lines(self, member: Member) -> AsyncGenerator[bytes, None]:
        """Yield a member's lines up to the time of another member's next one."""
        others = [self._ready[0][0]] if self._ready else []
        others += [self._waiting[0].created] if self._waiting else []
        until = min(others, default=None)
        self._has_unmarked = True
        while member.lines and (until is None or member.lines[0].ts <= until):
            line = member.lines.popleft()
            yield self._form.begin(member.start, line)
            is_whole = line.is_whole
            while not is_whole:
                rest, is_whole = await member.rest(self._pieces, self._selection.events)
                yield rest
            yield self._form.end

    async def _read_news(self) -> None:
        """Read executions with something new, and those that begin before the next line's time."""
        for member in list(self._news.values()):
            del self._news[member.id]
            if not member.lines:
                await self._read(member)
        while self._waiting:
            if self._ready and self._ready[0][0] < self._waiting[0].created:
                break
            member = self._waiting.popleft()
            if member.id in self._members and not member.lines:
                await self._read(member)

    async def _read(self, member: Member) -> None:
        """Read a member's next lines; it leaves the stream if there are no more to come."""
        most = max(_EACH_BYTES, _ALL_BYTES // (len(self._ready) + 1))
        is_new = False
        while not member.lines and not member.has_ended and not self._is_late:
            if not self._selection.follow and member.sent >= member.until:
                break  # what came later is not asked for
            began = time.monotonic()
            has_more = await member.read(self._pieces, self._selection.events, budget_bytes=most)
            await self._give_way(time.monotonic() - began)
            if not has_more:
                break
            is_new = True
        if member.lines:
            heapq.heappush(self._ready, (member.lines[0].ts, member.id, member))
        elif self._is_late:
            self._has_unmarked = True
        elif (
            member.has_ended
            or not self._selection.follow
            or (not is_new and await self._is_gone(member))
        ):
            self._leave(member)
            if member.has_ended and self._selection.filter is not None:
                self._over[member.id] = member.sent
                self._has_unmarked = True

    async def _is_gone(self, member: Member) -> bool:
        """Return whether a member was deleted."""
        return not await self._store.executions.numbered([member.id])

    async def _give_way(self, worked_s: float) -> None:
        """Let others work, and a search not more than they do."""
        if not self._selection.events.text:
            await asyncio.sleep(0)
            return
        self._worked_s += worked_s
        self._turn_s += worked_s
        pause_s, self._turn_s = (self._turn_s, 0.0) if self._turn_s > _TURN_S else (0, self._turn_s)
        await asyncio.sleep(pause_s)
