"""Metrics for Prometheus: the control plane's activity and the latency of answers.

`koco.api.middleware.metric_families` makes the text of them, and is imported at the first scrape.
"""

import asyncio
import time
from typing import Any

from litestar import Response, get

from koco.api.http import passing
from koco.api.http.auth import require_unlimited, requires
from koco.api.http.request import Request
from koco.api.middleware.durations import Durations
from koco.api.openapi.annotations import Answer
from koco.control.container import Parts
from koco.control.tasks import Tasks

#: How often the delay of the event loop is measured (seconds).
_LOOK_S = 1.0


class Metrics:
    """Counters of requests, and values read from a control plane at each scrape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: By method, route and status.
        self._requests: dict[tuple[str, str, int], Durations] = {}
        self._lag_s = 0.0
        self._tasks: Tasks | None = None

    def observe(self, scope: Any, status: int, began: float) -> None:
        """Count an answer. Requests without a route are counted together, whatever their path and
        method.
        """
        if passing.is_wanted(scope):
            return
        route = scope.get("path_template")
        key = (scope["method"], route, status) if route else ("", "", status)
        if (known := self._requests.get(key)) is None:
            known = self._requests[key] = Durations()
        known.add(time.perf_counter() - began)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as text, and its media type."""
        from koco.api.middleware import metric_families

        if self._tasks is None:
            self._tasks = Tasks("the metrics")
            self._tasks.keep(self._watch)
        seen = await metric_families.Seen.now(self._parts, self._requests)
        seen.lag_s, self._lag_s = self._lag_s, 0.0
        return metric_families.encode(seen, accept)

    async def _watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_LOOK_S)
            self._lag_s = max(self._lag_s, time.perf_counter() - began - _LOOK_S)


@get(
    "/v1/metrics",
    guards=[requires("read")],
    answers={
        200: Answer(
            media={"text/plain": str, "application/openmetrics-text": str}, headers=["ETag"]
        )
    },
    headers=["If-None-Match"],
)
async def show_metrics(request: Request) -> Response[bytes]:
    """Show metrics in Prometheus' text format, or in OpenMetrics if `Accept` asks for it."""
    require_unlimited(request.auth, "metrics are of all flows")
    metrics: Metrics = request.app.state.metrics
    text, media = await metrics.render(request.headers.get("accept", ""))
    # Set as a header, because litestar adds a second charset to a text media type.
    return Response(text, headers={"Content-Type": media})


ROUTES = (show_metrics,)
