"""Reading the audit log."""

from litestar import get

from koco.api.http import list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.store.model import AuditEntry, AuditQuery, Page


@get("/v1/audit", guards=[requires("admin")])
async def list_audit(
    request: Request,
    *,
    who: str | None = None,
    action: str | None = None,
    target: str | None = None,
    outcome: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[AuditEntry]:
    """List changes and refusals, newest first.

    `target` also finds entries below it; `outcome=refused` finds every outcome except `ok`.
    """
    list_query.check_limit(limit)
    query = AuditQuery(
        who=who,
        action=action,
        target=target,
        outcome=outcome,
        since=time_query.parse("since", since),
        until=time_query.parse("until", until),
    )
    return await request.parts.store.audit.page(query, limit=limit, cursor=cursor)


ROUTES = (list_audit,)
