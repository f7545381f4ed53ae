"""Remove what is no longer kept, in the background: see docs/settings.md.

The time of an execution is that of its flow's manifest, or else that of the settings. What has not
ended is never removed.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from koco.control.access.audit import Audit
from koco.control.settings import Settings
from koco.errors import ConflictError, KocoError, NotFoundError
from koco.events import line
from koco.events.model import FINAL
from koco.manifest.rules import FOREVER
from koco.store.model import AuditEntry
from koco.store.store import Store
from koco.time_text import read_duration

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

log = logging.getLogger(__name__)

#: How often it looks, and after which pause it begins with the first look (seconds).
_EVERY_S, _FIRST_S = 600.0, 60.0
#: The pause after each removal (seconds), because requests are more urgent.
_PAUSE_S = 0.005

_DAY_S = 86_400.0
#: The owner of what koco does by itself, in the audit log.
_KOCO = "koco"


class Retention:
    """Removes old executions, files and audit entries of one control plane."""

    def __init__(
        self, store: Store, settings: Settings, audit: Audit, *, wake: Callable[[str], None]
    ) -> None:
        """`wake` is called with the fid of each deleted execution, so that its streams end."""
        self._store = store
        self._settings = settings
        self._audit = audit
        self._wake = wake

    async def keep(self) -> None:
        """Sweep every ten minutes, without end."""
        await asyncio.sleep(_FIRST_S)
        while True:
            try:
                await self.sweep()
            except KocoError as exc:
                log.warning("what is no longer kept could not be removed: %s", exc)
            await asyncio.sleep(_EVERY_S)

    async def sweep(self) -> dict[str, int]:
        """Remove what is no longer kept; return how much: `executions`, `files_of`, `audit`."""
        found = {
            "executions": await self._sweep_executions(),
            "files_of": await self._sweep_files(),
            "audit": await self._sweep_audit(),
        }
        await self._sweep_deliveries()
        if any(found.values()):
            log.info("removed what is no longer kept: %s", found)
            entry = AuditEntry(action="retention", who=_KOCO, detail=found)
            await self._audit.note(entry)
        return found

    async def _sweep_executions(self) -> int:
        count = 0
        for flow in await self._store.retention.flows():
            kept_s = await self._kept_s(flow)
            if kept_s < math.inf:
                for status in sorted(FINAL):
                    count += await self._sweep_flow(flow, status, _before(kept_s))
        return count

    async def _sweep_flow(self, flow: str, status: str, before: str) -> int:
        count, after = 0, 0
        while True:
            piece = await self._store.retention.ended(flow, status, before=before, after=after)
            for fid in piece.fids:
                try:
                    await self._store.executions.delete(fid)
                except (NotFoundError, ConflictError):
                    continue  # somebody else has deleted it
                self._wake(fid)
                count += 1
                await asyncio.sleep(_PAUSE_S)
            if piece.after is None:
                return count
            after = piece.after

    async def _sweep_files(self) -> int:
        days, count, after = self._settings.keep_files_days, 0, 0
        while days:
            done, next_one = await self._store.retention.strip(
                before=_before(days * _DAY_S), after=after
            )
            count += done
            await asyncio.sleep(_PAUSE_S)
            if next_one is None:
                break
            after = next_one
        return count

    async def _sweep_audit(self) -> int:
        days, count = self._settings.keep_audit_days, 0
        while days:
            done = await self._store.retention.remove_audit(before=_before(days * _DAY_S))
            count += done
            await asyncio.sleep(_PAUSE_S)
            if not done:
                break
        return count

    async def _sweep_deliveries(self) -> None:
        """Shorten the log of webhooks. The audit log says nothing of it, because it is all day."""
        days = self._settings.keep_deliveries_days
        while days:
            before = _before(days * _DAY_S)
            if not await self._store.deliveries.remove_old(before=before):
                break
            await asyncio.sleep(_PAUSE_S)

    async def _kept_s(self, flow: str) -> float:
        """Return how long ended executions of a flow are kept (seconds)."""
        service, _, name = flow.partition("/")
        page = await self._store.releases.page(service, limit=1)
        live = await self._store.releases.live(service)
        release = live or (page.items[0] if page.items else None)
        if release is not None and (kept := keep_of(release.manifest, name)) is not None:
            return math.inf if kept == FOREVER else read_duration(kept) or math.inf
        return self._settings.keep_executions_days * _DAY_S or math.inf


def keep_of(manifest: "Manifest", flow: str) -> str | None:
    """Return how long a manifest wants executions of a flow to be kept, or None."""
    for each in manifest.flows:
        if each.name == flow and each.keep is not None:
            return each.keep
    return manifest.keep


def _before(kept_s: float) -> str:
    return line.timestamp(max(time.time() - kept_s, 0.0))
