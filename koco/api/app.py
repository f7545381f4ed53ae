"""The application: all routes, and what stands around them."""

import copy
import functools

from litestar import Litestar
from litestar.datastructures import State

from koco.api import (
    access,
    apps,
    audit,
    audit_log,
    bundles,
    changes,
    conditional,
    doctor,
    envelope,
    executions,
    files,
    flows,
    keys,
    limits,
    locks,
    metrics,
    nodes,
    plan,
    problems,
    reference,
    releases,
    requests,
    results,
    secrets,
    services,
    session,
    stacks,
    status,
    transport,
    users,
)
from koco.api.idempotency import Replies
from koco.control.doctor import Doctor
from koco.control.parts import Parts


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
    enveloped = envelope.enveloped(conditional.conditional(app.asgi_handler), measured.observe)
    app.asgi_handler = transport.transported(enveloped, parts.settings)
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
            *nodes.ROUTES,
            *plan.ROUTES,
            *reference.ROUTES,
            *secrets.ROUTES,
            *releases.ROUTES,
            *results.ROUTES,
            *services.ROUTES,
            *session.ROUTES,
            *stacks.ROUTES,
            *status.ROUTES,
            *users.ROUTES,
        ],
        exception_handlers=problems.HANDLERS,
        before_request=requests.check,
        before_send=[audit.record],
        openapi_config=None,
        logging_config=None,
        request_class=limits.Request,
        # It counts for itself, by a setting that may change.
        request_max_body_size=None,
    )
    access.check_guards(app)
    return app
