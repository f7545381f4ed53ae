"""An execution's description in Kodosumi's shape: its flow's metadata, its status, its final text.

koco has more statuses. A cancelled execution is an `error` here, a queued one is `starting`, a
sleeping one `running`.
"""

from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from koco import __version__
from koco.api.http.rendering import render_apart
from koco.api.kodosumi.shapes import flow_urls, payloads
from koco.api.kodosumi.shapes.identity import role_id
from koco.api.routes.executions.results import read_outcome
from koco.control.container import Parts
from koco.errors import NotFoundError
from koco.events import line
from koco.events.model import Status
from koco.forms import off_loop
from koco.store.model import Execution

#: Kodosumi's statuses.
_STATUSES = {
    Status.QUEUED: "starting",
    Status.STARTING: "starting",
    Status.SLEEPING: "running",
    Status.CANCELLED: "error",
}
#: The error that Kodosumi's services raise with a message for their users.
_FOR_USERS = "KodosumiError"
_CANCELLED = "The execution was cancelled."


#: Descriptions of flows, by service, release and flow.
Flows = dict[tuple[str, int, str], dict[str, Any]]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an execution, as its first event has it in Kodosumi."""

    fid: str
    summary: str | None
    description: str | None
    tags: tuple[str, ...]
    deprecated: bool | None
    author: str | None
    organization: str | None
    version: str | None
    kodosumi_version: str
    base_url: str
    app_url: str
    entry_point: str
    username: str


async def read(parts: Parts, execution: Execution, flows: Flows | None = None) -> Facts:
    """Return the description of an execution: its launch's own, or else its flow's.

    A request that describes several executions keeps their flows in `flows`.
    """
    flow = await _flow(parts, execution, {} if flows is None else flows)
    meta = await _first_event(parts, execution)
    url = flow_urls.app_url(execution.service)

    def about(name: str) -> Any:
        return meta.get(name) or flow.get(name) or None

    name = execution.flow.partition("/")[2]
    return Facts(
        fid=execution.fid,
        summary=str(about("summary") or name),
        description=about("description"),
        tags=execution.tags,
        deprecated=about("deprecated"),
        author=about("author"),
        organization=about("organization"),
        version=about("version"),
        kodosumi_version=__version__,
        base_url=url,
        app_url=url,
        entry_point=execution.entrypoint or flow.get("entrypoint", ""),
        username=role_id(execution.user),
    )


def status_of(status: Status) -> str:
    """Return a status as Kodosumi calls it."""
    return _STATUSES.get(status, str(status))


def seconds(stamp: str) -> float:
    """Return a time stamp (RFC 3339) in seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp()


async def final_text(parts: Parts, execution: Execution) -> str | None:
    """Return the outcome of an execution as text, or None if it has not ended."""
    if not execution.status.is_final:
        return None
    if execution.status is Status.CANCELLED:
        return payloads.text_body(_CANCELLED)
    outcome = msgspec.to_builtins(await read_outcome(parts, execution))
    if execution.status is Status.FINISHED:
        value = outcome.get("result")
        if off_loop.is_small(value):
            return payloads.serialize(value)
        # A list of millions takes seconds, and others need the loop.
        return await render_apart(execution.user, partial(payloads.serialize, value))
    return payloads.text_body(error_text(outcome.get("error") or {}))


def error_text(error: dict[str, Any]) -> str:
    """Return an error's message for people."""
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    if not kind or kind.rpartition(".")[2] == _FOR_USERS:
        return message
    return f"{kind}: {message}" if message else kind


async def _flow(parts: Parts, execution: Execution, known: Flows) -> dict[str, Any]:
    """Return the description of an execution's flow, which is then known."""
    key = (execution.service, execution.release, execution.flow)
    if key not in known:
        known[key] = await _find_flow(parts, execution)
    return known[key]


async def _find_flow(parts: Parts, execution: Execution) -> dict[str, Any]:
    """Return the description of an execution's flow; empty if it is not there any more."""
    try:
        release = await parts.store.releases.get(execution.service, execution.release)
    except NotFoundError:
        return {}
    name = execution.flow.partition("/")[2]
    found = next((each for each in release.flows if each.name == name), None)
    return {} if found is None else found.to_wire()


async def _first_event(parts: Parts, execution: Execution) -> dict[str, Any]:
    """Return the payload of an execution's `meta` event."""
    chunks = await parts.store.events.after(execution.id, 0, budget_bytes=1)
    if not chunks:
        return {}
    payload = line.decode(1, chunks[0].body.partition(b"\n")[0]).get("payload")
    return payload if isinstance(payload, dict) else {}
