"""Reading the audit log."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State

from koco.api.http import list_query, time_query
from koco.api.http.auth import requires
from koco.api.openapi import schemas
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.store.model import AuditEntry, AuditQuery


@get("/v1/audit", guards=[requires("admin")], answers={200: schemas.Page[AuditEntry]})
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
    """List changes and refusals, newest first.

    `target` also finds entries below it; `outcome=refused` finds every outcome but `ok`.
    """
    parts: Parts = request.app.state.parts
    list_query.check_limit(limit)
    query = AuditQuery(
        who=who,
        action=action,
        target=target,
        outcome=outcome,
        since=time_query.moment("since", since),
        until=time_query.moment("until", until),
    )
    page = await parts.store.audit.page(query, limit=limit, cursor=cursor)
    return {"items": msgspec.to_builtins(page.items), "next": page.next}


ROUTES = (list_audit,)
