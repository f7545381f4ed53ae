"""The routes of Kodosumi's API, one module per resource.

They may import `koco.api.kodosumi.shapes` and koco's own routes. Begin with `flows`.
"""

from types import ModuleType


def modules() -> tuple[ModuleType, ...]:
    """Return the modules with routes."""
    # Imported here, because a package that imports its modules makes circles.
    from koco.api.kodosumi.routes import (
        files,
        flows,
        form_pages,
        health,
        left_out,
        locks,
        outputs,
        roles,
        session,
        stream,
        timeline,
        uploads,
    )

    return (
        *(files, flows, form_pages, health, left_out, locks),
        *(outputs, roles, session, stream, timeline, uploads),
    )
