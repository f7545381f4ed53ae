"""The metrics of a control plane as Prometheus' families, read and encoded at a scrape."""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import prometheus_client as prometheus
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from koco import __version__
from koco.api.middleware.durations import BUCKETS, Durations
from koco.control.container import Parts
from koco.store.usage import UsageQuery, UsageRow
from koco.store.webhooks.deliveries import Waiting

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


@dataclass(slots=True, eq=False)
class Seen:
    """What a scrape shows. It is a collector of Prometheus' registry."""

    parts: Parts
    #: By method, route and status.
    requests: Mapping[tuple[str, str, int], Durations]
    executions: dict[str, int]
    usage: list[UsageRow]
    size_bytes: int
    waiting: Waiting
    #: The longest delay of the event loop (seconds).
    lag_s: float = 0.0

    @classmethod
    async def now(cls, parts: Parts, requests: Mapping[tuple[str, str, int], Durations]) -> Self:
        """Return what there is to show now."""
        by_flow = await parts.store.usage.page(UsageQuery(by=("flow",)), limit=_FLOWS)
        return cls(
            parts,
            requests,
            executions=await parts.store.executions.count_by_status(),
            usage=by_flow.items,
            size_bytes=await parts.store.engine.size_bytes(),
            waiting=await parts.store.deliveries.waiting(),
        )

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for the registry."""
        parts = self.parts
        yield _gauge(
            "koco_build_info",
            "Which koco this is.",
            {(__version__, platform.python_version()): 1},
            labels=("version", "python"),
        )
        text = "Executions in the store, by status."
        yield _gauge("koco_executions", text, _label(self.executions), labels=("status",))
        launched, appended = parts.supervisor.launched, parts.spooler.appended
        text = "Executions launched since the control plane started."
        yield CounterMetricFamily("koco_launches", text, launched)
        text = "Events taken from runners since the control plane started."
        yield CounterMetricFamily("koco_events_appended", text, appended)
        for member, (name, text) in _USED.items():
            sums = {str(row.flow): getattr(row, member) for row in self.usage}
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
        yield GaugeMetricFamily("koco_store_bytes", "The store's size on disk.", self.size_bytes)
        text = "The longest delay of the event loop since this was last read."
        yield GaugeMetricFamily("koco_event_loop_lag_seconds", text, self.lag_s)
        yield self._durations()

    def _webhooks(self) -> Iterator[Metric]:
        text = "Attempts to send messages to webhooks since the control plane started."
        outcomes = self.parts.webhooks.sender.outcomes
        yield _counter("koco_webhook_attempts", text, outcomes, "outcome")
        text = "Messages to webhooks that are still to be sent."
        yield GaugeMetricFamily("koco_webhook_waiting", text, self.waiting.number)
        text = "How long the first of them is overdue."
        since = self.waiting.since
        late_s = 0.0 if since is None else max(0.0, time.time() - since)
        yield GaugeMetricFamily("koco_webhook_late_seconds", text, late_s)

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "koco_http_request_duration_seconds",
            "Until an answer began, by route and status.",
            labels=("method", "route", "status"),
        )
        bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
        for key, each in self.requests.items():
            buckets = [*zip(bounds, accumulate(each.counts), strict=True)]
            family.add_metric([*map(str, key)], buckets, each.sum_s)
        return family


def encode(seen: Seen, accept: str) -> tuple[bytes, str]:
    """Return metrics as text, in the format that `Accept` asks for, and its media type."""
    registry = prometheus.CollectorRegistry(auto_describe=False)
    registry.register(seen)
    prometheus.ProcessCollector(registry=registry)
    encode_all, media = choose_encoder(accept)
    return encode_all(registry), media


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
