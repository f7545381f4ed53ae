"""Paths of Kodosumi that koco does not serve: the panel's pages, and paths that deploys replace."""

from typing import Any

from litestar import route
from litestar.enums import HttpMethod

from koco.api.http.request import Request
from koco.errors import NotFoundError

#: The commands in place of each path, by its beginning; the longest one that fits counts.
_INSTEAD = {
    "/": "`koco --help` lists the commands; there is no web panel",
    "/admin/flow": "`koco flows` lists flows, `koco run NAME` launches one",
    "/admin/exec": "`koco show FID` shows an execution, `koco logs FID` its events",
    "/admin/status": "`koco show FID` shows an execution, `koco logs -f FID` follows it",
    "/admin/routes": "`koco status` lists services, `koco flows` their flows",
    "/admin/timeline": "`koco ps -a` lists executions",
    "/api/dashboard": "`koco ps -a` lists executions, `koco status` shows what runs",
    "/deploy": "`koco deploy` deploys, `koco undeploy` removes, `koco releases` lists",
    "/serve": "`koco deploy` deploys, `koco status` shows the endpoints",
    "/flow/register": "nothing to do: `koco deploy` registers the flows",
    "/flow/unregister": "`koco undeploy SERVICE` removes a service and its flows",
    "/expose": "`koco deploy` deploys manifests, `koco status` lists services",
    "/boot": "`koco deploy` deploys, and waits until each service works",
    "/maintenance": "`koco undeploy SERVICE` stops a service, `koco rollback` goes back",
    "/exchange": "manifests are files; `koco init --from` reads an export",
    "/audit": "`koco audit` shows the audit log",
    "/wallets": "the payment service has the wallets",
    "/api/masumi": "the payment service registers agents; the manifest's `mip003` has identifiers",
    "/schema": "`/openapi.json` describes koco's own API",
}

#: The beginnings that include everything below them.
_BELOW = (
    *("/admin", "/api/dashboard", "/api/masumi", "/audit", "/boot", "/deploy", "/exchange"),
    *("/expose", "/maintenance", "/schema", "/serve", "/wallets"),
)

_PATHS = ["/", "/flow/register", "/flow/unregister"]
_PATHS += [path for start in _BELOW for path in (start, f"{start}/{{rest:path}}")]


@route(
    _PATHS,
    http_method=[HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.DELETE],
    status_code=200,
)
async def show_no_page(request: Request) -> Any:
    """Say which command takes the place of a page.

    Raises:
        NotFoundError: always.
    """
    path = request.scope["path"]
    fitting = [start for start in _INSTEAD if path.startswith(start)]
    hint = _INSTEAD[max(fitting, key=len)]
    raise NotFoundError(f"koco has nothing in place of Kodosumi's {path[:200]}", hint=hint)


ROUTES = (show_no_page,)
