"""The audit log: every act and every refusal, with the caller.

An act is in the log once it is committed. Refusals cost the caller nothing, so they must not fill
the disk: the first few of each caller in a minute are written one by one, the rest as a sum when
the minute is over.
"""

import asyncio
import logging
from collections import Counter

import msgspec

from koco.errors import KocoError
from koco.store.model import AuditEntry
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The period over which refusals are summed (seconds).
_SUMMED_S = 60.0
#: How many refusals in that period are written one by one: of a known caller, and of an address
#: without a known caller.
_SINGLY, _SINGLY_UNKNOWN = 20, 1
#: How many sums one period may have; further refusals go into one sum for all.
_SUMS = 200
#: Refusals with the same values of these fields are summed together.
_ALIKE = ("action", "who", "credential", "outcome", "address")


class Audit:
    """Writes the audit log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Since the last sum: how many refusals each caller had, and the sums themselves.
        self._refused: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[tuple[str, ...]] = Counter()

    async def note(self, entry: AuditEntry) -> None:
        """Add an entry. It is committed when this returns, unless it is a refusal that is summed.

        Raises:
            StoreError: an act could not be written. A refusal that cannot be written is only
                logged.
        """
        if entry.outcome == "ok":
            await self._store.audit.add([entry])
            return
        if self._is_summed(entry):
            return
        try:
            await self._store.audit.add([entry])
        except KocoError:
            log.exception("a refusal could not be written to the audit log: %s", entry)

    async def keep(self) -> None:
        """Write the sums each minute, without end."""
        while True:
            await asyncio.sleep(_SUMMED_S)
            await self.sum_up()

    async def sum_up(self) -> None:
        """Write the sums and start new ones."""
        sums, self._sums = self._sums, Counter()
        self._refused.clear()
        entries = [
            msgspec.convert(
                dict(zip(_ALIKE, values, strict=True), detail={"count": count}), AuditEntry
            )
            for values, count in sums.items()
        ]
        if entries:
            await self._store.audit.add(entries)

    def _is_summed(self, entry: AuditEntry) -> bool:
        """Count a refusal; return whether it only becomes part of a sum."""
        caller = (entry.credential, entry.address)
        if caller in self._refused or len(self._refused) < _SUMS:
            self._refused[caller] += 1
            if self._refused[caller] <= (_SINGLY if entry.credential else _SINGLY_UNKNOWN):
                return False
        alike = tuple(getattr(entry, name) for name in _ALIKE)
        if alike not in self._sums and len(self._sums) >= _SUMS:
            alike = ("several", "", "", entry.outcome, "several")
        self._sums[alike] += 1
        return True
