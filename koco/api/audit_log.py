"""Reading the audit log."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State

from koco.api import lists, shapes, times
from koco.api.access import requires
from koco.control.caller import Caller
from koco.control.parts import Parts
from koco.store.model import AuditEntry, AuditQuery


@get("/v1/audit", guards=[requires("admin")], answers={200: shapes.Page[AuditEntry]})
async def list_audit(
    request: Request[Any, Caller, State],
    *,
    who: str | None = None,
    action: str | None = None,
    target: str | None = None,
    outcome: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List what was done and what was refused, newest first.

    `target` finds what is below it, too; `outcome=refused` is whatever is not `ok`.
    """
    parts: Parts = request.app.state.parts
    lists.check_limit(limit)
    query = AuditQuery(
        who=who,
        action=action,
        target=target,
        outcome=outcome,
        since=times.moment("since", since),
        until=times.moment("until", until),
    )
    page = await parts.store.audit(query, limit=limit, cursor=cursor)
    return {"items": msgspec.to_builtins(page.items), "next": page.next}


ROUTES = (list_audit,)
