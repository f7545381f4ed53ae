"""Records of the timeline, and whether a search matches them."""

from datetime import datetime
from typing import Any

import msgspec

from koco.api.kodosumi.shapes import facts, payloads
from koco.api.kodosumi.shapes.facts import Facts
from koco.control.container import Parts
from koco.events.model import Status
from koco.store.model import Execution, masked


class Record(msgspec.Struct):
    """An execution in the timeline. Times are RFC 3339 in UTC; `runtime` is in seconds."""

    fid: str
    tags: tuple[str, ...]
    summary: str | None
    inputs: dict[str, Any]
    status: str
    startup: str
    finish: str | None
    runtime: float | None
    locks: list[str]


async def render(parts: Parts, execution: Execution, about: Facts) -> Record:
    """Return an execution as the timeline shows it."""
    locks = []
    if execution.status is Status.AWAITING:
        found = await parts.store.locks.all_of(execution.id)
        locks = [lock.lid for lock in found if lock.status == "open"]
    startup = execution.started or execution.created
    return Record(
        fid=execution.fid,
        tags=execution.tags,
        summary=about.summary,
        inputs=payloads.wrap(masked(execution.inputs, execution.hidden)),
        status=facts.status_of(execution.status),
        startup=startup,
        finish=execution.finished,
        runtime=_between_s(startup, execution.finished) if execution.finished else None,
        locks=locks,
    )


def matches(text: str, execution: Execution, about: Facts) -> bool:
    """Return whether a text occurs in the execution's metadata or inputs, as Kodosumi reads them.

    They are read as `status:finished tag:a …`, in lower case.
    """
    named = {
        "author": about.author,
        "organization": about.organization,
        "summary": about.summary,
        "description": about.description,
        "fid": execution.fid,
        "status": facts.status_of(execution.status),
        "startup": execution.started or execution.created,
    }
    parts = [f"{name}:{value}" for name, value in named.items() if value]
    parts += [f"tag:{tag}" for tag in execution.tags]
    parts.append(f"inputs:{payloads.wrap(masked(execution.inputs, execution.hidden))}")
    return text.lower() in " ".join(parts).lower()


def _between_s(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
