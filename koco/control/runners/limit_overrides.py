"""Limits that somebody has set in place of a manifest's, for good or until the next deploy.

They are kept in the store, and in memory because each launch and each start of an execution asks.
"""

from typing import TYPE_CHECKING

from koco.events import line
from koco.store.model import LimitOverride
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest.model import Limits

#: The limits that can be set.
NAMES = ("running", "queue")


class Overrides:
    """The overrides of all flows, by full name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._all: dict[str, LimitOverride] = {}

    async def load(self) -> None:
        """Read them from the store."""
        self._all = {each.flow: each for each in await self._store.limits.all()}

    def of(self, flow: str, release: int) -> LimitOverride | None:
        """Return the override that counts for a flow in a release of its service, or None."""
        found = self._all.get(flow)
        return None if found is None or found.release not in (None, release) else found

    def apply(self, flow: str, release: int, limits: "Limits") -> "Limits":
        """Return limits with the override that counts for a flow in a release."""
        found = self.of(flow, release)
        return limits if found is None else limits.model_copy(update=found.limits)

    async def put(
        self,
        flow: str,
        limits: dict[str, int | None],
        *,
        release: int,
        until_deploy: bool,
        by: str,
    ) -> None:
        """Set some limits of a flow; those that were set before stay.

        `release` is the live one. With `until_deploy`, all that is set for the flow counts for it
        only.
        """
        former = self.of(flow, release)
        new = LimitOverride(
            flow=flow,
            limits=({} if former is None else former.limits) | limits,
            release=release if until_deploy else None,
            by=by,
            since=line.timestamp(),
        )
        await self._store.limits.put(new)
        self._all[flow] = new

    async def remove(self, flow: str) -> None:
        """Let a flow's manifest decide again."""
        await self._store.limits.remove(flow)
        self._all.pop(flow, None)
