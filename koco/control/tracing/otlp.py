"""Sends spans by OTLP over HTTP, with OpenTelemetry's own exporter.

It is only imported if something is exported. The exporter reads its own variables.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from koco import __version__
from koco.control.tracing.spans import Span
from koco.trace_context import Trace

_SCOPE = InstrumentationScope("koco", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
#: Variables that name who makes the exporter's session.
_PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)


def sender(environment: Mapping[str, str]) -> Callable[[Trace, Sequence[Span]], int]:
    """Return what sends spans of a trace and returns the collector's status; 0 if it has none."""
    # The exporter tells no status, and a session of somebody else's has none to be asked for.
    session = None if any(map(environment.get, _PROVIDERS)) else requests.Session()
    statuses: list[int] = []
    if session is not None:
        session.hooks["response"].append(lambda answer, **_: statuses.append(answer.status_code))
    exporter = OTLPSpanExporter(session=session)
    resource = Resource.create(_own_name(environment))

    def send(trace: Trace, spans: Sequence[Span]) -> int:
        statuses.clear()
        made = [_to_sdk(each, trace, resource) for each in spans]
        if exporter.export(made) is SpanExportResult.SUCCESS:
            return HTTPStatus.OK
        return statuses[-1] if statuses else 0

    return send


def _own_name(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the service, unless the variables have one."""
    attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    is_named = any(each.partition("=")[0].strip() == "service.name" for each in attributes)
    if is_named or environment.get("OTEL_SERVICE_NAME"):
        return {}
    return {"service.name": "koco"}


def _to_sdk(span: Span, trace: Trace, resource: Resource) -> ReadableSpan:
    states = TraceState.from_header([trace.state]) if trace.state else None

    def context(span_id: str, *, is_remote: bool) -> SpanContext:
        return SpanContext(int(trace.trace_id, 16), int(span_id, 16), is_remote, _SAMPLED, states)

    attributes = {**span.attributes, **({"error.type": span.error} if span.error else {})}
    status = Status(StatusCode.ERROR, span.message or span.error) if span.error else Status()
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id, is_remote=False),
        parent=context(span.parent_id, is_remote=span.is_server) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER if span.is_server else SpanKind.INTERNAL,
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )
