"""The API of a control plane, as functions that its actor calls.

Ray sends functions of a module by name. So a process that starts the actor does not import the
API, which takes a quarter of a second.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koco.control.container import Parts


def make_app(parts: "Parts") -> Any:
    """Return the API; see `koco.api.app`."""
    from koco.api.app import create_app  # see above

    return create_app(parts)


def only_for_nodes(app: Any) -> Any:
    """Return the part of the API that nodes may use; see `koco.api.node_app`."""
    from koco.api import node_app  # see above

    return node_app.only_for_nodes(app)
