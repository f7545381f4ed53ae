"""What an engine says of other processes if there are none."""

from collections.abc import Callable

from koco.store.members import Leader, Member


class Alone:
    """The part of an `Engine` that is about others, for one process that has the store alone."""

    def __init__(self) -> None:
        self.on_touched: Callable[[list[str]], None] = lambda fids: None
        self.on_gap: Callable[[], None] = lambda: None
        self.on_deposed: Callable[[], None] = lambda: None

    @property
    def is_shared(self) -> bool:
        """False."""
        return False

    async def missed_standbys(self) -> str | None:
        """Return None: there are none."""
        return None

    async def announce(self, *, url: str, node: str = "") -> None:
        """Do nothing: nobody asks."""

    async def lead(self, *, url: str = "") -> int:
        """Return at once."""
        return 1

    async def leader(self) -> Leader | None:
        """Return None."""
        return None

    async def members(self) -> list[Member]:
        """Return none."""
        return []
