"""The span in which an execution's code runs, as OpenTelemetry sees it."""

import contextvars
import subprocess
import sys

from opentelemetry import trace

from koco.sdk.process import span
from koco.trace_context import Trace

TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rojo=1")


def test_spans_begin_below_the_executions() -> None:
    """In that context only; and none is left once it is over."""

    def flow() -> None:
        span.enter(TRACE)
        here = trace.get_current_span().get_span_context()
        assert (f"{here.trace_id:032x}", f"{here.span_id:016x}") == (TRACE.trace_id, TRACE.span_id)
        assert here.is_remote and here.trace_flags.sampled
        assert here.trace_state["rojo"] == "1"
        assert span.present() == TRACE
        span.enter(None)
        assert not trace.get_current_span().get_span_context().is_valid
        assert span.present() is None

    contextvars.copy_context().run(flow)
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_of_the_authors_own_is_nearer() -> None:
    """A Ray task that is started inside of it belongs below it."""

    def flow() -> None:
        span.enter(TRACE)
        own = trace.SpanContext(int(TRACE.trace_id, 16), 7, is_remote=False)
        with trace.use_span(trace.NonRecordingSpan(own)):
            found = span.present()
        assert found is not None
        assert (found.trace_id, found.span_id) == (TRACE.trace_id, f"{7:016x}")

    contextvars.copy_context().run(flow)


def test_nothing_is_imported_for_it() -> None:
    """A process whose author does not use OpenTelemetry pays nothing, and passes the trace on."""
    code = (
        "import sys; from koco.sdk.process import span; from koco.trace_context import Trace;"
        f" span.enter(Trace({TRACE.parent!r})); assert span.present().parent == {TRACE.parent!r};"
        " assert not [each for each in sys.modules if each.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
