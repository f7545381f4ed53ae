"""The trace that an execution belongs to: at each way in, and where it is told."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from koco import trace_context
from koco.client.client import Client
from koco.client.context_file import Context
from koco.client.exchange import trace_headers
from koco.control import log_file
from koco.events.model import Status
from koco.events.questions import CallFlow
from tests.support.api_server import Api, serving
from tests.support.mcp_client import McpClient
from tests.support.whole_api import MANIFEST, complete

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "rojo=1"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        every_year = [{"flow": "flow", "cron": "0 0 1 1 *"}]
        api.call(complete(api, given={**MANIFEST, "schedule": every_year}))
        api.call(api.parts.schedules.refresh(0))
        yield api


def launch(api: Api, path: str = "/v1/flows/svc/flow", **more: Any) -> str:
    """Launch with the headers; return the fid."""
    with api.http() as client:
        answer = client.post(path, headers=HEADERS, json=more.get("body", {}))
        assert answer.is_success, answer.text
        body = answer.json()
        return str(body.get("result") or body.get("fid"))


def shown(api: Api, fid: str) -> dict[str, Any]:
    with api.http() as client:
        found: dict[str, Any] = client.get(f"/v1/executions/{fid}").json()
        return found


def test_a_launch_belongs_to_the_callers_trace(api: Api) -> None:
    """Its id is told with the execution and in its first event; the whole is stored."""
    fid = launch(api)
    assert shown(api, fid)["trace_id"] == TRACE
    with api.http() as client:
        events = client.get(f"/v1/executions/{fid}/events").text.splitlines()
    assert json.loads(events[0])["payload"]["trace_id"] == TRACE
    stored = api.call(api.parts.store.executions.get(fid))
    assert (stored.traceparent, stored.tracestate) == tuple(HEADERS.values())


def test_a_launch_without_a_valid_trace_has_its_own(api: Api) -> None:
    """It is derived from the fid."""
    with api.http() as client:
        sent = [("traceparent", "00-1-2-3"), ("tracestate", "rojo=1")]
        fid = client.post("/v1/flows/svc/flow", json={}, headers=sent).json()["result"]
        twice = [("traceparent", HEADERS["traceparent"])] * 2
        other = client.post("/v1/flows/svc/flow", json={}, headers=twice).json()["result"]
    assert shown(api, fid)["trace_id"] == trace_context.of_execution(fid, None).trace_id
    assert api.call(api.parts.store.executions.get(fid)).tracestate is None
    assert shown(api, other)["trace_id"] != TRACE


def test_a_repeated_launch_keeps_the_first_trace(api: Api) -> None:
    """It is the same execution."""
    with api.http() as client:
        key = {"Idempotency-Key": "once"}
        fid = client.post("/v1/flows/svc/flow", json={}, headers=key).json()["result"]
        again = client.post("/v1/flows/svc/flow", json={}, headers={**key, **HEADERS}).json()
    assert again["result"] == fid
    assert shown(api, fid)["trace_id"] != TRACE


@pytest.mark.parametrize("what", ["retry", "resume"])
def test_a_repetition_belongs_to_the_trace_of_who_asks_for_it(api: Api, what: str) -> None:
    """Not to that of the execution that it repeats."""
    former = api.execution(Status.ERROR, release=api.parts.catalog.release("svc").number)
    body = {"release": "live"} if what == "resume" else {}
    fid = launch(api, f"/v1/executions/{former}/{what}", body=body)
    assert fid != former
    assert shown(api, fid)["trace_id"] == TRACE


def test_a_triggered_schedule_belongs_to_the_trace_of_who_triggers_it(api: Api) -> None:
    """Its runs at other times have traces of their own."""
    fid = launch(api, "/v1/schedules/trigger", body={"schedule": "svc/flow"})
    assert shown(api, fid)["trace_id"] == TRACE


def test_a_call_over_mcp_names_its_trace_in_its_meta(api: Api) -> None:
    """That counts more than the headers, which are those of the connection."""
    other = TRACE[::-1]
    meta = {"traceparent": HEADERS["traceparent"].replace(TRACE, other), "tracestate": "a=1"}
    meta["koco/idempotencyKey"] = "over-mcp"
    with McpClient(api.url) as client:
        client.http.headers.update(HEADERS)
        client.capabilities = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        answer = client.call("svc.flow", meta=meta)
        assert "taskId" in json.dumps(answer), answer
    found = api.call(api.parts.store.executions.find_by_key("ada", "over-mcp"))
    assert (found.trace_id, found.tracestate) == (other, "a=1")


def test_a_child_belongs_to_the_trace_of_its_parent(api: Api) -> None:
    """Below the span of the step that launched it."""
    parent = api.call(api.parts.store.executions.get(launch(api)))
    question = CallFlow(flow="svc/flow", inputs={}, key="k1", position=0, digest="")
    child = api.call(api.parts.waits._children.launch(parent, question))
    assert child.trace_id == TRACE
    assert child.tracestate == "rojo=1"
    assert child.traceparent == f"00-{TRACE}-{trace_context.span_id(parent.fid, 'k1')}-01"


def test_the_command_line_passes_its_own_trace_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, as CI systems set it; what is invalid there is left out."""
    monkeypatch.setenv("TRACEPARENT", HEADERS["traceparent"])
    monkeypatch.setenv("TRACESTATE", HEADERS["tracestate"])
    client = Client(Context(name="test", url=api.url, key="ada"))
    assert shown(api, client.launch("svc/flow", {}))["trace_id"] == TRACE
    monkeypatch.setenv("TRACEPARENT", "nonsense")
    assert shown(api, client.launch("svc/flow", {}))["trace_id"] != TRACE


def test_a_program_with_opentelemetry_passes_its_present_span_on() -> None:
    """That counts more than the environment, because it is nearer."""
    here = SpanContext(int(TRACE, 16), 7, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(here)):
        assert trace_headers.current() == {"traceparent": f"00-{TRACE}-{7:016x}-01"}
    assert trace_headers.current() == {}


def test_entries_of_the_log_have_the_trace_of_their_execution(api: Api) -> None:
    """And the span that stands for all of it; entries about others have none."""
    handler = log_file.write_to(api.data_dir / "control.log")
    fid = launch(api)
    try:
        logging.getLogger("koco.test").info("an execution waits", extra={"fid": fid})
        logging.getLogger("koco.test").info("about 0123456789abcdeg, which is gone")
    finally:
        logging.getLogger("koco").removeHandler(handler)
        logging.getLogger("uvicorn.error").removeHandler(handler)
    api.admit("admin", "admin")
    with api.http("admin") as client:
        lines = client.get("/v1/log").text.splitlines()
    entries = [json.loads(each) for each in lines if "koco.test" in each]
    assert [each["fid"] for each in entries] == [fid, "0123456789abcdeg"]
    span_id = trace_context.span_id(fid, trace_context.LAUNCH)
    assert (entries[0]["trace_id"], entries[0]["span_id"]) == (TRACE, span_id)
    assert (entries[1]["trace_id"], entries[1]["span_id"]) == (None, None)
