"""An execution's trace on a real Ray: into the flow, its tasks and children, and to a collector."""

from collections.abc import Iterator

import pytest

from koco import trace_context
from tests.support.collector import Collector, attributes
from tests.support.driver import Koco, eventually
from tests.support.long import long

TRACE = "0af7651916cd43dd8448eb211c80319c"

CODE = """
    import koco, ray
    from opentelemetry import trace

    def here():
        found = trace.get_current_span().get_span_context()
        return [f"{found.trace_id:032x}", f"{found.span_id:016x}"]

    @ray.remote(num_cpus=0)
    def task():
        return here()

    @koco.step
    async def look():
        return here()

    async def child(tracer: koco.Tracer):
        return here()

    async def flow(tracer: koco.Tracer):
        own = trace.SpanContext(trace.get_current_span().get_span_context().trace_id, 7, False)
        with trace.use_span(trace.NonRecordingSpan(own)):
            below = await koco.remote(task).remote()
        return {
            "flow": here(),
            "task": await koco.remote(task).remote(),
            "below": below,
            "step": await look(),
            "child": await tracer.call("traced/child"),
        }
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@long
def test_a_trace_reaches_flows_tasks_children_and_a_collector(
    fresh: Koco, collector: Collector
) -> None:
    """The author's spans nest below those that koco exports once the execution has ended."""
    fresh.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "prod"}
    fresh.up()
    flows = [{"name": name, "entrypoint": f"traced_app:{name}"} for name in ("flow", "child")]
    fresh.deploy("traced", CODE, flows=flows)
    parent = {"TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"}
    fid = fresh.run("run", "traced/flow", env=parent).ok().out.split()[0]
    fresh.run("wait", fid).ok()
    found = fresh.run("result", fid, "--json").ok().json()["result"]
    run = trace_context.span_id(fid, trace_context.RUN, 1)
    assert found["flow"] == found["task"] == found["step"] == [TRACE, run]
    assert found["below"] == [TRACE, f"{7:016x}"]
    assert found["child"][0] == TRACE
    eventually(lambda: [each for each in collector.spans if each.name == "launch traced/flow"])
    whole, inner = collector.named("launch traced/flow"), collector.named("launch traced/child")
    assert {each.trace_id.hex() for each in collector.spans} == {TRACE}
    assert whole.parent_span_id.hex() == "b7ad6b7169203331"
    assert collector.named("invoke_workflow traced/flow").span_id.hex() == run
    [call] = [each for each in collector.spans if each.name.startswith("call ")]
    assert inner.parent_span_id == call.span_id
    assert call.parent_span_id.hex() == run
    assert attributes(whole)["koco.fid"] == fid
    assert collector.services == {"prod"}
    ids = [each.span_id for each in collector.spans]
    assert len(ids) == len(set(ids))
