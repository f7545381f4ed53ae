"""The trace context that the present request came with."""

from collections.abc import Iterable
from contextvars import ContextVar

from koco import trace_context
from koco.trace_context import Trace

#: The headers that it comes in.
HEADERS = ("traceparent", "tracestate")

#: What the request belongs to for which the present work was begun, if it said so. Whatever it
#: launches belongs to that trace.
current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def read(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """Return the trace context in a request's headers, or None if there is no valid one."""
    parents: list[str] = []
    states: list[str] = []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    return trace_context.parse(parents[0], states) if len(parents) == 1 else None
