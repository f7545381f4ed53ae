"""Exports the spans of ended executions, if OpenTelemetry's standard variables say so.

It follows the feed of changes with a cursor that the store keeps, which moves on once a collector
has the spans. So a control plane that dies exports some again, with the same ids, and loses none;
and a collector that is away costs nothing but waiting.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from koco.control.events import changes
from koco.control.events.spooler import Spooler
from koco.control.tracing import spans, variables
from koco.control.tracing.spans import Span
from koco.errors import KocoError
from koco.store.model import EVERYTHING, Execution
from koco.store.store import Store
from koco.trace_context import Trace

log = logging.getLogger(__name__)

#: The name of its cursor.
_NAME = "traces"
#: How many spans are sent at once.
_AT_ONCE = 512
#: The pauses after exports that failed: they double up to the second one (seconds).
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
#: How often spans are sent that a collector does not take: for about a day.
_TRIES = 1500
#: The statuses of a collector to which spans are wrong or too many: sent again, they would only
#: hold up all others.
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
#: How often the feed is looked at if nothing changes (seconds).
_LOOK_S = 60.0

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OURS = "http/protobuf"


#: Sends spans of a trace, and returns the status of the answer, or 0 without one; blocks.
Send = Callable[[Trace, Sequence[Span]], int]


class Exporter:
    """Exports spans; `outcomes` counts those that were sent, and the exports that failed."""

    def __init__(
        self,
        store: Store,
        spooler: Spooler,
        *,
        environment: Mapping[str, str] = os.environ,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._store = store
        self._spooler = spooler
        self._environment = environment
        self._pause_s = pause_s
        self.outcomes: Counter[str] = Counter({"ok": 0, "failed": 0})

    async def keep(self) -> None:
        """Export without end, or return at once if nothing is to be exported."""
        if not is_wanted(self._environment):
            return
        try:
            # In a thread, because it takes a while to import.
            send = await asyncio.to_thread(_make_send, self._environment)
        except ImportError as exc:
            log.warning("traces are not exported: %s; `pip install 'koco-deploy[otel]'`", exc)
            return
        log.info("exporting traces by OTLP")
        cursor = await self._store.settings.cursor(_NAME)
        if cursor is None:  # what ended before is not exported
            cursor = await self._store.changes.latest()
            await self._store.settings.put_cursor(_NAME, cursor)
        pages = changes.follow(
            self._store, self._spooler, cursor=cursor, sight=EVERYTHING, heartbeat_s=_LOOK_S
        )
        async for page in pages:
            ended = [each.execution for each in page.items if each.execution is not None]
            for execution in ended:
                if execution.status.is_final and execution.trace.is_sampled:
                    await self._export(execution, send)
            if page.items:
                await self._store.settings.put_cursor(_NAME, page.next)

    async def _export(self, execution: Execution, send: Send) -> None:
        try:
            found = await spans.of(self._store, self._spooler, execution)
        except KocoError as exc:  # it was deleted meanwhile, for example
            log.info("an execution has no spans: %s", exc.message, extra={"fid": execution.fid})
            return
        for first in range(0, len(found), _AT_ONCE):
            await self._send(send, execution.trace, found[first : first + _AT_ONCE])

    async def _send(self, send: Send, trace: Trace, piece: Sequence[Span]) -> None:
        pause_s = self._pause_s
        for number in range(_TRIES):
            status = await asyncio.to_thread(send, trace, piece)
            if status in _REFUSALS:
                self.outcomes["failed"] += 1
                log.warning(
                    "%d spans were left out: a collector refuses them (%d)", len(piece), status
                )
                return
            if status == HTTPStatus.OK:
                self.outcomes["ok"] += len(piece)
                if number:
                    log.info("traces are exported again")
                return
            self.outcomes["failed"] += 1
            if not number:
                log.warning("a collector does not take traces; they are kept, and sent again")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        log.warning("%d spans were left out: no collector took them for a day", len(piece))


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry's variables ask for an export of traces by OTLP."""

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    if value(variables.DISABLED).lower() == "true":
        return False
    exporters = value(variables.EXPORTER)
    if exporters and "otlp" not in [each.strip() for each in exporters.split(",")]:
        return False
    if not exporters and not any(map(value, variables.ENDPOINTS)):
        return False
    protocol = next(filter(None, map(value, _PROTOCOLS)), _OURS)
    if protocol != _OURS:
        log.warning("traces are not exported: koco speaks OTLP over %s, not %s", _OURS, protocol)
        return False
    return True


def _make_send(environment: Mapping[str, str]) -> Send:
    """Return what sends spans, once OpenTelemetry is imported.

    Raises:
        ImportError: it, or its exporter for OTLP over HTTP, is not installed.
    """
    # Imported here, because most control planes export nothing: 30 MB, and most of a second.
    from koco.control.tracing import otlp

    return otlp.sender(environment)
