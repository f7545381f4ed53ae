"""The application: all routes, and what stands around them."""

import copy
import functools

from litestar import Litestar
from litestar.datastructures import State

from koco.api import node_app
from koco.api.http import audit, auth, errors, proxy, request_id
from koco.api.middleware import body_limit, etag, metrics, validation
from koco.api.middleware.idempotency import Replies
from koco.api.openapi import routes
from koco.api.routes import (
    apps,
    bundles,
    changes,
    doctor,
    executions,
    files,
    flows,
    keys,
    locks,
    plan,
    releases,
    results,
    secrets,
    services,
    session,
    stacks,
    status,
    users,
)
from koco.api.routes import (
    audit as audit_log,
)
from koco.control.container import Parts
from koco.control.health.doctor import Doctor


def create_app(parts: Parts) -> Litestar:
    """Return the API of a control plane."""
    measured = metrics.Metrics(parts)
    app = copy.copy(_routed())
    app.state = State(
        {
            "parts": parts,
            "doctor": Doctor(parts),
            "replies": Replies(parts),
            "metrics": measured,
        }
    )
    # Around all of it: litestar's own middleware never sees what no route was found for.
    enveloped = request_id.enveloped(etag.conditional(app.asgi_handler), measured.observe)
    app.asgi_handler = proxy.transported(enveloped, parts.settings)
    return app


@functools.cache
def _routed() -> Litestar:
    """Return all routes, without what they work on: they are the same for each control plane.

    Tests start hundreds of them, and litestar takes a tenth of a second for the routes.
    """
    app = Litestar(
        route_handlers=[
            *apps.ROUTES,
            *audit_log.ROUTES,
            *bundles.ROUTES,
            *changes.ROUTES,
            *doctor.ROUTES,
            *executions.ROUTES,
            *files.ROUTES,
            *flows.ROUTES,
            *keys.ROUTES,
            *locks.ROUTES,
            *metrics.ROUTES,
            *node_app.ROUTES,
            *plan.ROUTES,
            *routes.ROUTES,
            *secrets.ROUTES,
            *releases.ROUTES,
            *results.ROUTES,
            *services.ROUTES,
            *session.ROUTES,
            *stacks.ROUTES,
            *status.ROUTES,
            *users.ROUTES,
        ],
        exception_handlers=errors.HANDLERS,
        before_request=validation.check,
        before_send=[audit.record],
        openapi_config=None,
        logging_config=None,
        request_class=body_limit.Request,
        # It counts for itself, by a setting that may change.
        request_max_body_size=None,
    )
    auth.check_guards(app)
    return app
