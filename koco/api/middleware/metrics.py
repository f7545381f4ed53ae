"""Metrics for Prometheus: the control plane's activity and the latency of answers."""

import asyncio
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

import prometheus_client as prometheus
from litestar import Response, get
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from koco import __version__
from koco.api.http import passing
from koco.api.http.auth import require_unlimited, requires
from koco.api.http.request import Request
from koco.api.openapi.annotations import Answer
from koco.control.container import Parts
from koco.control.tasks import Tasks
from koco.store.usage import UsageQuery, UsageRow
from koco.store.webhooks.deliveries import Waiting

#: Upper bounds of the histogram's buckets (seconds). Launches take a few milliseconds, requests
#: that wait up to a minute.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: What ended executions of a flow have used, by the member of `UsageRow`: also deleted ones.
_USED = {
    "executions": ("koco_flow_executions", "Executions of a flow so far, also deleted ones."),
    "wall_s": ("koco_flow_wall_seconds", "How long processes ran executions of a flow."),
    "cpu_s": ("koco_flow_cpu_seconds", "The CPU time of these processes for them."),
    "ray_tasks": ("koco_flow_ray_tasks", "Ray tasks and actors that they have started."),
    "stored_bytes": ("koco_flow_stored_bytes", "Their events, files and recorded steps."),
}
#: At most so many flows have metrics of their own.
_FLOWS = 1000
#: How often the delay of the event loop is measured (seconds).
_LOOK_S = 1.0


class Metrics:
    """Counters of requests, and values read from a control plane at each scrape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._registry = prometheus.CollectorRegistry(auto_describe=False)
        self._requests = prometheus.Histogram(
            "koco_http_request_duration_seconds",
            "Until an answer began, by route and status.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        #: A cache, because the histogram's own lookup takes as long as all the rest.
        self._known: dict[tuple[str, str, int], Any] = {}
        self._executions: dict[str, int] = {}
        self._usage: list[UsageRow] = []
        self._size_bytes = 0
        self._waiting = Waiting(0, None)
        self._lag_s = 0.0
        self._tasks: Tasks | None = None
        self._registry.register(self)
        prometheus.ProcessCollector(registry=self._registry)

    def observe(self, scope: Any, status: int, began: float) -> None:
        """Count an answer. Requests without a route are counted together, whatever their path and
        method.
        """
        if passing.is_wanted(scope):
            return
        route = scope.get("path_template")
        key = (scope["method"], route, status) if route else ("", "", status)
        if (child := self._known.get(key)) is None:
            child = self._known[key] = self._requests.labels(*map(str, key))
        child.observe(time.perf_counter() - began)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as text, and its media type."""
        if self._tasks is None:
            self._tasks = Tasks("the metrics")
            self._tasks.keep(self._watch)
        self._executions = await self._parts.store.executions.count_by_status()
        by_flow = await self._parts.store.usage.page(UsageQuery(by=("flow",)), limit=_FLOWS)
        self._usage = by_flow.items
        self._size_bytes = await self._parts.store.engine.size_bytes()
        self._waiting = await self._parts.store.deliveries.waiting()
        encode, media = choose_encoder(accept)
        return encode(self._registry), media

    def collect(self) -> Iterator[Metric]:
        """Yield the values read at scrape time, for the registry."""
        parts = self._parts
        yield _gauge(
            "koco_build_info",
            "Which koco this is.",
            {(__version__, platform.python_version()): 1},
            labels=("version", "python"),
        )
        text = "Executions in the store, by status."
        yield _gauge("koco_executions", text, _label(self._executions), labels=("status",))
        launched, appended = parts.supervisor.launched, parts.spooler.appended
        text = "Executions launched since the control plane started."
        yield CounterMetricFamily("koco_launches", text, launched)
        text = "Events taken from runners since the control plane started."
        yield CounterMetricFamily("koco_events_appended", text, appended)
        for member, (name, text) in _USED.items():
            sums = {str(row.flow): getattr(row, member) for row in self._usage}
            yield _counter(name, text, sums)
        load = parts.supervisor.load
        text = "Executions of a flow that wait for their turn."
        yield _gauge("koco_flow_queued", text, _label(load.waiting), labels=("flow",))
        text = "Executions of a flow that have begun and not ended."
        yield _gauge("koco_flow_running", text, _label(load.running), labels=("flow",))
        yield from self._webhooks()
        waits_s = [since for pool in parts.supervisor.pools.values() if (since := pool.line.since)]
        text = "How long the first execution in line has waited that its limits allow."
        longest_s = time.monotonic() - min(waits_s) if waits_s else 0.0
        yield GaugeMetricFamily("koco_queue_longest_wait_seconds", text, longest_s)
        text = "Spans that a collector has taken since the control plane started."
        yield CounterMetricFamily("koco_spans_exported", text, parts.traces.outcomes["ok"])
        text = "Exports of spans that no collector took; they are repeated."
        yield CounterMetricFamily("koco_span_exports_failed", text, parts.traces.outcomes["failed"])
        yield GaugeMetricFamily("koco_streams_open", "Open streams.", len(parts.streams))
        yield GaugeMetricFamily("koco_store_bytes", "The store's size on disk.", self._size_bytes)
        text = "The longest delay of the event loop since this was last read."
        yield GaugeMetricFamily("koco_event_loop_lag_seconds", text, self._lag_s)
        self._lag_s = 0.0

    def _webhooks(self) -> Iterator[Metric]:
        text = "Attempts to send messages to webhooks since the control plane started."
        outcomes = self._parts.webhooks.sender.outcomes
        yield _counter("koco_webhook_attempts", text, outcomes, "outcome")
        text = "Messages to webhooks that are still to be sent."
        yield GaugeMetricFamily("koco_webhook_waiting", text, self._waiting.number)
        text = "How long the first of them is overdue."
        since = self._waiting.since
        late_s = 0.0 if since is None else max(0.0, time.time() - since)
        yield GaugeMetricFamily("koco_webhook_late_seconds", text, late_s)

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


def _gauge(
    name: str, text: str, values: dict[tuple[str, ...], float], *, labels: tuple[str, ...]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric(label, value)
    return family


def _counter(
    name: str, text: str, values: Mapping[str, float], label: str = "flow"
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for of, value in values.items():
        family.add_metric((of,), value)
    return family


def _label(counted: dict[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): count for name, count in counted.items() if count}


ROUTES = (show_metrics,)
