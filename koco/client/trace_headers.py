"""The headers that make what is launched a part of the caller's own trace."""

import os
import sys

from koco import trace_context
from koco.trace_context import Trace

#: Variables of the environment that tools for CI and wrappers set, as OpenTelemetry defines them.
PARENT, STATE = "TRACEPARENT", "TRACESTATE"


def current() -> dict[str, str]:
    """Return the headers of the present span: of this program, or of the one that started it."""
    found = _own() or trace_context.parse(os.environ.get(PARENT), [os.environ.get(STATE)])
    return found.headers if found is not None else {}


def _own() -> Trace | None:
    """Return the present span of a program that uses OpenTelemetry, which is not imported here."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    here = api.get_current_span().get_span_context()
    parent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}"
    return trace_context.parse(parent, [here.trace_state.to_header()])
