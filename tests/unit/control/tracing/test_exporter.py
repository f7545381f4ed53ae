"""Spans of ended executions, sent by OTLP to a collector that runs here."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco import trace_context
from koco.control.events.spooler import Spooler
from koco.control.settings import Settings
from koco.control.tracing import exporter
from koco.control.tracing.exporter import Exporter
from koco.events.model import Status
from koco.store.model import Execution, FailureEvent, NewExecution
from koco.store.store import Store
from koco.trace_context import Trace
from tests.support.collector import Collector, attributes

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = Trace(f"00-{TRACE}-b7ad6b7169203331-01", "rojo=1")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.close()


async def _run(store: Store, trace: Trace | None = None, *, fails: bool = False) -> Execution:
    """Take an execution to its end."""
    new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, trace=trace)
    execution, _ = await store.executions.create(new)
    await store.executions.assign(execution.fid, "r1")
    error = FailureEvent(type="ValueError", message="no") if fails else None
    status = Status.ERROR if fails else Status.FINISHED
    await store.executions.settle(execution.fid, status, error)
    return await store.executions.get(execution.fid)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_exports_what_ends_once_and_goes_on_after_a_restart(
    tmp_path: Path, collector: Collector
) -> None:
    """Below the caller's span, with derived ids; nothing that ended before the first export."""

    async def scenario() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        spooler = Spooler(store, Settings())
        await _run(store)
        keeping = asyncio.create_task(Exporter(store, spooler).keep())
        async with asyncio.timeout(30):
            while await store.settings.cursor("traces") is None:
                await asyncio.sleep(0.01)
        mine = await _run(store, CALLER, fails=True)
        spooler.wake(mine.fid)
        before = await store.settings.cursor("traces")
        async with asyncio.timeout(30):
            while await store.settings.cursor("traces") == before:
                await asyncio.sleep(0.01)
        keeping.cancel()
        whole = collector.named("launch svc/flow")
        assert whole.trace_id.hex() == TRACE
        assert whole.parent_span_id.hex() == CALLER.span_id
        assert whole.trace_state == "rojo=1"
        assert whole.span_id.hex() == trace_context.span_id(mine.fid, trace_context.LAUNCH)
        about = attributes(whole)
        assert (about["koco.fid"], about["koco.release"]) == (mine.fid, 1)
        assert about["error.type"] == "ValueError"
        assert collector.named("queue").parent_span_id == whole.span_id
        assert collector.services == {"koco"}
        # A restart goes on after that.
        other = await _run(store)
        again = Exporter(store, spooler)
        keeping = asyncio.create_task(again.keep())
        await _until(lambda: again.outcomes["ok"])
        keeping.cancel()
        ids = [each.span_id for each in collector.spans]
        assert len(ids) == len(set(ids)), "no span is exported twice"
        fids = {attributes(each)["koco.fid"] for each in collector.spans}
        assert fids == {mine.fid, other.fid}
        await store.close()

    asyncio.run(scenario())


def test_waits_for_a_collector_that_is_away(tmp_path: Path, collector: Collector) -> None:
    """What ended meanwhile is sent once it is back; a trace that is not recorded never is."""

    async def scenario() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        spooler = Spooler(store, Settings())
        await store.settings.put_cursor("traces", "0")
        collector.status = 401
        exports = Exporter(store, spooler, pause_s=0.01)
        await _run(store, Trace(f"00-{TRACE}-b7ad6b7169203331-00"))
        await _run(store)
        keeping = asyncio.create_task(exports.keep())
        await _until(lambda: exports.outcomes["failed"] > 1)
        assert not collector.spans
        collector.status = 200
        await _until(lambda: exports.outcomes["ok"])
        keeping.cancel()
        assert {each.trace_id.hex() for each in collector.spans} != {TRACE}
        assert len([each for each in collector.spans if each.name == "launch svc/flow"]) == 1
        await store.close()

    asyncio.run(scenario())


def test_leaves_out_what_a_collector_refuses(tmp_path: Path, collector: Collector) -> None:
    """Otherwise spans that are wrong to it, or too many, would hold up all others for a day."""

    async def scenario() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        spooler = Spooler(store, Settings())
        await store.settings.put_cursor("traces", "0")
        collector.status = 413
        exports = Exporter(store, spooler)
        refused = await _run(store)
        keeping = asyncio.create_task(exports.keep())
        await _until(lambda: exports.outcomes["failed"])
        collector.status = 200
        taken = await _run(store)
        spooler.wake(taken.fid)
        await _until(lambda: exports.outcomes["ok"])
        keeping.cancel()
        traces = {each.trace_id.hex() for each in collector.spans}
        assert traces == {taken.trace.trace_id} != {refused.trace.trace_id}
        assert collector.refused == 1
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    """Without any of them nothing is exported, and nothing imported."""
    assert exporter.is_wanted(environment) is wanted
