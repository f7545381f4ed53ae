"""The application: all routes and the layers around them."""

import functools
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from koco.api import node_app, protocol_app
from koco.api.agents.a2a import app as a2a
from koco.api.agents.mcp import routes as mcp
from koco.api.agents.mip003 import app as mip003
from koco.api.forwarding import app as forwarding
from koco.api.http import errors, proxy, rendered, request_id
from koco.api.http.audit import record
from koco.api.kodosumi import app as kodosumi
from koco.api.middleware import etag, metrics, validation
from koco.api.middleware.idempotency import Replies
from koco.api.routes import (
    backup,
    doctor,
    flows,
    limits,
    log,
    openapi,
    runners,
    schedules,
    settings,
    status,
    usage,
    webhooks,
)
from koco.api.routes.access import audit, keys, session, users
from koco.api.routes.deploy import apps, bundles, plan, releases, runner_log, secrets, services
from koco.api.routes.executions import (
    bulk,
    bulk_repeats,
    changes,
    events,
    executions,
    files,
    locks,
    messages,
    repeats,
    results,
    stacks,
    steps,
)
from koco.control.container import Parts
from koco.control.health.doctor import Doctor

#: The modules with routes.
MODULES = (
    *(
        node_app,
        metrics,
        backup,
        doctor,
        flows,
        limits,
        log,
        openapi,
        runners,
        schedules,
        settings,
        status,
        usage,
        webhooks,
    ),
    *(audit, keys, session, users),
    mcp,
    *(apps, bundles, plan, releases, runner_log, secrets, services),
    *(
        bulk,
        bulk_repeats,
        changes,
        events,
        executions,
        files,
        locks,
        messages,
        repeats,
        results,
        stacks,
        steps,
    ),
)


def create_app(parts: Parts) -> Litestar:
    """Return the API of a control plane."""
    counters = metrics.Metrics(parts)
    state = State(
        {
            "parts": parts,
            "doctor": Doctor(parts),
            "replies": Replies(parts),
            "metrics": counters,
            "rendered": rendered.Rendered(executions.Execution.render),
        }
    )
    app = protocol_app.bind(_make_routes(), state)
    a2a.push_with(parts)
    # A2A's cards get an `ETag` as well.
    served = etag.wrap(a2a.wrap(app.asgi_handler, state))
    served = kodosumi.wrap(served, state)
    served = mip003.wrap(served, state)
    # Outermost, because litestar's own middleware does not see requests without a route.
    identified = request_id.wrap(served, counters.observe)
    app.asgi_handler = _face(identified, parts, counters)
    return app


def _face(app: Any, parts: Parts, counters: metrics.Metrics) -> Any:
    """Wrap the application in what stands between it and its clients."""
    dress = functools.partial(proxy.dress, settings=parts.settings)
    trust = functools.partial(proxy.trust, settings=parts.settings)
    if parts.leadership.is_alone:
        return trust(dress(app))
    refusing = dress(request_id.wrap(forwarding.refuse, counters.observe))
    return forwarding.wrap(dress(app), parts, trust=trust, refusing=refusing)


@functools.cache
def _make_routes() -> Litestar:
    """Return all routes, without their state: they are the same for each control plane.

    Cached, because tests start hundreds of control planes and litestar needs a tenth of a second
    to build the routes.
    """
    routes = [route for module in MODULES for route in module.ROUTES]
    return protocol_app.make(
        routes, errors.HANDLERS, before_request=validation.check, before_send=[record]
    )
