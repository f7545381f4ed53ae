"""Trace contexts as W3C defines them, and the ids of what koco itself traces.

Ids of spans are derived from what they stand for. So a runner knows the id of a span that the
control plane exports an hour later, and one that is exported twice is the same span.
Source: https://www.w3.org/TR/trace-context/
"""

import functools
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

#: `version-trace id-parent id-flags`; a version of the future may add to it.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: `key=value` pairs, separated by commas: how long and how many.
_STATE_LENGTH, _STATE_MEMBERS = 512, 32
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/]{0,240}(@[a-z][a-z0-9_\-*/]{0,13})?=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}"
)
#: The flag of a trace that is recorded.
_SAMPLED = 1

#: The spans of an execution: as a whole, and of each attempt in a process.
LAUNCH, QUEUE, START, RUN = "launch", "queue", "start", "run"


@dataclass(frozen=True, slots=True)
class Trace:
    """The span that something belongs below, as the headers `traceparent` and `tracestate`."""

    parent: str
    state: str | None = None

    @property
    def trace_id(self) -> str:
        """The id of its trace: 32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """The id of the span: 16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def is_sampled(self) -> bool:
        """Whether its trace is recorded."""
        return bool(int(self.parent[53:55], 16) & _SAMPLED)

    def below(self, span_id: str) -> "Trace":
        """Return the same trace below one of its spans."""
        return Trace(f"00-{self.trace_id}-{span_id}-{self.parent[53:55]}", self.state)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that belongs to it."""
        state = {"tracestate": self.state} if self.state else {}
        return {"traceparent": self.parent, **state}


def parse(parent: object, states: Sequence[object] = ()) -> Trace | None:
    """Return a caller's trace context, or None if it is invalid or missing.

    `states` are the values of `tracestate`, in their order; invalid ones are dropped.
    """
    if not isinstance(parent, str) or (found := _PARENT.fullmatch(parent.strip())) is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if (version == "00" and rest) or not (int(trace_id, 16) and int(span_id, 16)):
        return None
    sampled = int(flags, 16) & _SAMPLED
    return Trace(f"00-{trace_id}-{span_id}-{sampled:02x}", _state(states))


def of_program() -> Trace | None:
    """Return the present span of a program that uses OpenTelemetry, which is not imported here."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    here = api.get_current_span().get_span_context()
    parent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}"
    return parse(parent, [here.trace_state.to_header()])


def _state(values: Sequence[object]) -> str | None:
    text = ",".join(each for each in values if isinstance(each, str))
    members = [each.strip() for each in text.split(",") if each.strip()]
    is_valid = len(text) <= _STATE_LENGTH and len(members) <= _STATE_MEMBERS
    if not members or not is_valid or not all(map(_MEMBER.fullmatch, members)):
        return None
    return ",".join(members)


def of_execution(fid: str, parent: str | None, state: str | None = None) -> Trace:
    """Return the trace of an execution, below the span that stands for all of it.

    `parent` and `state` are what it was launched with. Without them it has a trace of its own.
    """
    flags = parent[53:55] if parent else "01"
    return Trace(f"00-{trace_id(fid, parent)}-{span_id(fid, LAUNCH)}-{flags}", state)


def trace_id(fid: str, parent: str | None) -> str:
    """Return the id of an execution's trace; see `of_execution`."""
    return parent[3:35] if parent else _own_trace(fid)


@functools.lru_cache(maxsize=4096)  # lists show the same executions again and again
def _own_trace(fid: str) -> str:
    return _digest("trace", fid)[:32]


def span_id(fid: str, what: str, attempt: int = 0) -> str:
    """Return the id of one of an execution's spans.

    `what` is one of the names above or the key of a step, which occurs once in an execution.
    """
    return _digest("span", fid, str(attempt), what)[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(("koco", *parts)).encode()).hexdigest()
