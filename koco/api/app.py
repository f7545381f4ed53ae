"""The application: all routes, and what stands around them."""

from litestar import Litestar
from litestar.datastructures import State

from koco.api import (
    apps,
    audit,
    bundles,
    doctor,
    envelope,
    executions,
    files,
    flows,
    keys,
    locks,
    plan,
    problems,
    reference,
    releases,
    results,
    secrets,
    services,
    session,
    status,
    users,
)
from koco.control.doctor import Doctor
from koco.control.parts import Parts


def create_app(parts: Parts) -> Litestar:
    """Return the API of a control plane."""
    app = Litestar(
        route_handlers=[
            *apps.ROUTES,
            *audit.ROUTES,
            *bundles.ROUTES,
            *doctor.ROUTES,
            *executions.ROUTES,
            *files.ROUTES,
            *flows.ROUTES,
            *keys.ROUTES,
            *locks.ROUTES,
            *plan.ROUTES,
            *reference.ROUTES,
            *secrets.ROUTES,
            *releases.ROUTES,
            *results.ROUTES,
            *services.ROUTES,
            *session.ROUTES,
            *status.ROUTES,
            *users.ROUTES,
        ],
        state=State({"parts": parts, "doctor": Doctor(parts)}),
        exception_handlers=problems.HANDLERS,
        before_send=[audit.record],
        openapi_config=None,
        logging_config=None,
        # A megabyte of JSON is a generous launch; bundles are streamed and not counted here.
        request_max_body_size=16 * 1024 * 1024,
    )
    # Around all of it: litestar's own middleware never sees what no route was found for.
    app.asgi_handler = envelope.enveloped(app.asgi_handler)
    return app
