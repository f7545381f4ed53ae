"""W3C's headers: which are valid, and what is passed on."""

import pytest

from koco import trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_reads_valid_headers() -> None:
    """A newer version may add to them, of which the known part counts."""
    trace = trace_context.parse(VALID, ["rojo=1", "congo=t61rcWkgMzE"])
    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.is_sampled) == (TRACE, SPAN, True)
    assert trace.headers == {"traceparent": VALID, "tracestate": "rojo=1,congo=t61rcWkgMzE"}
    later = trace_context.parse(f"cc-{TRACE}-{SPAN}-00-what-else")
    assert later is not None
    assert later.headers == {"traceparent": f"00-{TRACE}-{SPAN}-00"}
    assert not later.is_sampled


@pytest.mark.parametrize(
    "text",
    [
        *("", None, 4, TRACE, f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}", f"{VALID}-more"),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", VALID.upper()),
        *(f"cc-{TRACE}-{SPAN}-01more", f"00-{TRACE}-{SPAN}-0g", f"{VALID},{VALID}"),
    ],
)
def test_ignores_invalid_headers(text: object) -> None:
    """As W3C demands: the trace starts anew."""
    assert trace_context.parse(text) is None


@pytest.mark.parametrize(
    "states", [["="], ["a=b=c"], ["A=1"], [f"a={'x' * 300}"], ["a=1," * 33], [None], [7]]
)
def test_drops_an_invalid_state(states: list[object]) -> None:
    """The trace itself is kept."""
    trace = trace_context.parse(VALID, states)
    assert trace is not None
    assert trace.state is None


def test_derives_the_ids_of_an_execution() -> None:
    """The same each time, others for others; the trace is the caller's if there is one."""
    own = trace_context.of_execution("f1", None)
    assert own == trace_context.of_execution("f1", None)
    assert trace_context.parse(own.parent) == own
    assert own.trace_id != trace_context.of_execution("f2", None).trace_id
    theirs = trace_context.of_execution("f1", f"00-{TRACE}-{SPAN}-00", "rojo=1")
    assert theirs.trace_id == TRACE
    assert theirs.span_id == own.span_id == trace_context.span_id("f1", trace_context.LAUNCH)
    assert not theirs.is_sampled
    ids = [
        trace_context.span_id("f1", what, attempt)
        for what in (trace_context.RUN, trace_context.QUEUE, "1")
        for attempt in (1, 11)
    ]
    assert len({*ids}) == len(ids)
