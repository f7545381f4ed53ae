"""The audit log: what was done, by whom, and what was refused.

An act is in it once it is committed. Refusals cost whoever asks for them nothing,
and so must not fill the disk: of each caller the first few in a minute are written
one by one, the rest as a sum when the minute is over.
"""

import asyncio
import logging
from collections import Counter

import msgspec

from koco.errors import KocoError
from koco.store.model import AuditEntry
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How long refusals are summed up (seconds).
_SUMMED_S = 60.0
#: Refusals in that time that are written one by one: of a known caller, and of an address that
#: nobody is known at.
_SINGLY, _SINGLY_UNKNOWN = 20, 1
#: Sums in that time; what comes on top goes into one for all.
_SUMS = 200
#: What those have in common that are told as one.
_ALIKE = ("action", "who", "credential", "outcome", "address")


class Audit:
    """Writes the audit log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Refusals since the last sum: how many of each caller, and the sums themselves.
        self._refused: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[tuple[str, ...]] = Counter()

    async def note(self, entry: AuditEntry) -> None:
        """Add an entry; it is committed when this returns, but for a refusal that is summed.

        Raises:
            StoreError: it could not be written, and was no refusal.
        """
        if entry.outcome == "ok":
            await self._store.note([entry])
            return
        if self._is_summed(entry):
            return
        try:
            await self._store.note([entry])
        except KocoError:
            log.exception("refused, and the audit log could not be written: %s", entry)

    async def keep(self) -> None:
        """Write the sums each minute, for ever."""
        while True:
            await asyncio.sleep(_SUMMED_S)
            await self.sum_up()

    async def sum_up(self) -> None:
        """Write what was summed; counting begins anew."""
        sums, self._sums = self._sums, Counter()
        self._refused.clear()
        entries = [
            msgspec.convert(
                dict(zip(_ALIKE, values, strict=True), detail={"count": count}), AuditEntry
            )
            for values, count in sums.items()
        ]
        if entries:
            await self._store.note(entries)

    def _is_summed(self, entry: AuditEntry) -> bool:
        """Count a refusal; say whether it is to be told as part of a sum only."""
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
