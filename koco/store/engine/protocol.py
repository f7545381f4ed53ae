"""The protocol of an engine: transactions, reads, and the SQL in which engines differ."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from koco.store.members import Leader, Member

T = TypeVar("T")

#: The values of a statement, by the names that it has them under (`:name`).
Values = Mapping[str, Any]


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows an `INSERT`, `UPDATE` or `DELETE` changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all other rows."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the other rows."""
        ...

    def close(self) -> None:
        """Skip the other rows."""


class Word(NamedTuple):
    """A word or phrase that is searched for, or the beginning of one."""

    text: str
    is_prefix: bool


class TextIndex(Protocol):
    """Full text search: an index of texts by execution."""

    #: The table, its column with an execution's id, and the condition on `:match`.
    table: str
    column: str
    condition: str

    def require(self, db: "Connection") -> None:
        """Check that there is an index.

        Raises:
            NoSearchError: this database cannot search.
        """

    def exists(self, db: "Connection") -> bool:
        """Whether there is an index."""
        ...

    def match(self, words: Sequence[Word]) -> str:
        """Return the value of `:match` that finds texts with all of these words."""
        ...

    def find(
        self, db: "Connection", match: str, low: int, high: int, most: int
    ) -> tuple[list[int], int]:
        """Return the highest ids of matching texts from `low` to below `high`.

        The second value is how far it came: none that matches is missing from there to `high`.
        """
        ...

    def put(self, db: "Connection", texts: Iterable[tuple[int, str]]) -> None:
        """Index texts by execution. Executions that were deleted meanwhile are left out."""

    def remove(self, db: "Connection", execution: int) -> None:
        """Remove an execution's text."""


class Dialect(Protocol):
    """The SQL in which engines differ."""

    search: TextIndex

    def by_index(self, table: str, index: str) -> str:
        """Return a table for `FROM`, to be read by an index whatever the planner estimates."""
        ...

    def by_key(self, table: str) -> str:
        """Return a table for `FROM`, to be read by its primary key."""
        ...

    def matches(self, column: str, name: str) -> str:
        """Return the condition that a column fits the pattern `:name`, where `*` is any text."""
        ...

    def before(self, column: str, mark: str) -> str:
        """Return the part of a column's text before a mark, which it has."""
        ...

    def numbers(self, name: str) -> str:
        """Return a table for `FROM` whose column `value` has the numbers of a JSON list `:name`."""
        ...

    def in_order(self, column: str) -> str:
        """Return what keeps the rows of a join with `numbers` in their order, highest first."""
        ...

    def note_copied(self, db: "Connection") -> None:
        """Called after rows of another store were copied, with their numbers."""

    def read_part(self, db: "Connection", chunk: int, *, offset: int, size_bytes: int) -> bytes:
        """Return a part of the body of a chunk of events, without reading the rest."""
        ...


class Connection(Protocol):
    """Executes SQL, in one transaction. All names in it are portable; `dialect` has the rest."""

    dialect: Dialect
    #: What a change tells others once it is committed: see `Engine.on_news`.
    news: list[Any]
    #: The fids of the executions of which a change has changed the row or the events: see
    #: `Engine.on_touched`. There may be others among them.
    touched: set[str]
    #: Whether this process leads the store, and not another one: see `Engine.lead`.
    leads: bool

    def execute(self, sql: str, values: Values = ..., /) -> Rows:
        """Execute a statement."""
        ...

    def iterate(self, sql: str, values: Values = ..., /) -> Rows:
        """Execute a query whose rows may be large, of which perhaps not all are read.

        Close the rows, or read all of them.
        """
        ...

    def names_of(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        ...

    def executemany(self, sql: str, values: Iterable[Values], /) -> Rows:
        """Execute a statement once for each of the values."""
        ...


class Engine(Protocol):
    """A database. All methods are called from one event loop."""

    #: Raises `NoRoomError` if there is no room for new data. Set by whoever watches the disk.
    require_room: Callable[[], None]
    #: Called on the loop with the news of committed changes, before their callers go on.
    on_news: Callable[[list[Any]], None]
    #: In a shared store, all of these are called on the loop. First, with the fids of executions
    #: of which another process has changed the row or the events. News of its changes go to
    #: `on_news`, too.
    on_touched: Callable[[list[str]], None]
    #: Called if changes of other processes may have been missed: look everything up again.
    on_gap: Callable[[], None]
    #: Called once, if this process no longer leads. It can write nothing from then on.
    on_deposed: Callable[[], None]

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write to it as well."""
        ...

    @property
    def location(self) -> str:
        """Where the data is, for people."""
        ...

    def version(self) -> int:
        """Return the version of the tables, or 0 if there are none. Changes nothing. Blocks."""
        ...

    async def check(self) -> None:
        """Refuse a database that a newer koco has written. Changes nothing.

        Raises:
            ConflictError: a newer koco has written it.
            StoreError: it cannot be read.
        """

    async def open(self) -> None:
        """Open it, migrate its tables, and keep every other control plane out.

        A shared one is opened by several processes, of which none leads at first. One that has an
        older koco's tables waits for its leader to end before it migrates them.

        Raises:
            ConflictError: another control plane has it, or a newer koco has written it.
            StoreError: it cannot be opened. Nothing stays locked or open then.
        """

    async def close(self) -> None:
        """Finish pending changes and release it."""

    async def write(self, change: Callable[[Connection], T], *, grows: bool = False) -> T:
        """Make a change, together with others; return its result once it is committed.

        A change that fails does not affect the others. One that `grows` the database is refused
        first if the disk is full.

        Raises:
            NoRoomError: the disk is full, and the change `grows`.
            StoreError: it could not be committed.
            DamagedError: the stored data is damaged.
        """
        ...

    async def read(self, look: Callable[[Connection], T], *, snapshot: bool = False) -> T:
        """Return the result of a quick look, which sees every commit up to now.

        With `snapshot`, all its statements see the same state.
        """
        ...

    async def scan(
        self, look: Callable[[Connection], T], *, most_s: float = math.inf, apart: bool = False
    ) -> T:
        """Return the result of a look that may take long, and does not keep others waiting.

        A few run at once, and others wait for them. Those that run `apart` wait only for others
        that do.

        Raises:
            StoreError: it cannot be read.
            TimedOutError: it takes longer than `most_s`.
        """
        ...

    async def copy(self, to: Path, look: Callable[[Connection], T]) -> T:
        """Copy the database into a new file while it is used, and return the result of a look.

        Copy and look see the same state. If it fails or is cancelled, no file is left.

        Raises:
            StoreError: it could not be copied.
        """
        ...

    def is_open(self) -> bool:
        """Return whether some control plane has it open. Changes nothing. Blocks."""
        ...

    async def probe(self) -> int:
        """Commit a change without effect; return the version of the tables.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    async def missed_standbys(self) -> str | None:
        """Return the server's setting with its synchronous standbys if changes wait for them."""
        ...

    async def size_bytes(self) -> int:
        """Return its size on disk."""
        ...

    def reusable_bytes(self) -> int:
        """Return the free space within its files (bytes)."""
        ...

    async def give_back(self, size_bytes: int) -> None:
        """Give about as much of that free space back to the disk. Do nothing if it can't be."""
        ...

    def hold(self, size_bytes: int) -> bool:
        """Reserve room for changes that must succeed; False if the disk has too little. Blocks."""
        ...

    def missing_bytes(self) -> int:
        """Return how much of the reserved room had to be given up (bytes)."""
        ...

    async def announce(self, *, url: str, node: str = "") -> None:
        """Let others know where they reach this process: see `members`. `node` is its machine."""

    async def lead(self, *, url: str = "") -> int:
        """Wait until this process leads the store; return its epoch, which grows with each leader.

        It returns at once unless the store is shared. A wait may be cancelled. Every change of a
        leader is refused with `DeposedError` once another process leads, or once this one could
        neither renew its claim nor ask for it for some seconds. `url` is for `leader`.

        Raises:
            DeposedError: it has led before, and no longer does.
            StoreError: the server refuses.
        """
        ...

    async def leader(self) -> Leader | None:
        """Return who leads a shared store, or did so last."""
        ...

    async def members(self) -> list[Member]:
        """Return the processes that have a shared store open, by name."""
        ...
