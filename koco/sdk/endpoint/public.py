"""The public paths of a service's own endpoint, as the manifest's `endpoint.public` lists them.

Callers of these paths have no user: they need no signature at Serve's port, and no key at the
control plane.
"""

from collections.abc import Iterable
from typing import Any

from koco.errors import DeployError
from koco.sdk.endpoint.protocol import INTERNAL
from koco.spelling import nearest

#: The environment variable that lists a replica's public paths, as JSON.
VARIABLE = "KOCO_PUBLIC"


def is_public(path: str, named: Iterable[str]) -> bool:
    """Return whether a path (decoded, as the application sees it) is one of the listed ones.

    `/a` stands for itself, and `/a/*` for every path below it. A path that could be read as
    another one is never public.
    """
    segments = path.split("/")[1:]
    if segments[:1] == [INTERNAL.strip("/")] or {"", ".", ".."} & set(segments[:-1]):
        return False
    if segments[-1:] in (["."], [".."]) or "\\" in path:
        return False
    return any(
        path.startswith(each[:-1]) if each.endswith("/*") else path == each for each in named
    )


def check(app: Any, named: Iterable[str]) -> None:
    """Check the public paths against the routes of an application.

    Raises `DeployError` if a path is not a route, or belongs to a flow.
    """
    for each in named:
        for path, handler in app.flow_handlers.items():
            if is_public(path, [each]):
                name = handler.function_name
                raise DeployError(
                    f"endpoint.public: {each!r} opens the flow at {path!r} ({name}) to the public",
                    hint="a launch needs a user: let callers have a key with the scope `launch`",
                )
        if not _has_route(app, each):
            paths = sorted({str(path) for one in app.routes if (path := _path(one))})
            known = [path for path in paths if path not in app.flow_handlers]
            near = nearest(each, known)
            raise DeployError(
                f"endpoint.public: there is no route at {each!r}",
                hint=f"did you mean {near!r}?" if near else f"routes: {', '.join(known)}",
            )


def _path(route: Any) -> str:
    return str(getattr(route, "path", ""))


def _has_route(app: Any, named: str) -> bool:
    from starlette.routing import Match

    below = named[:-1] if named.endswith("/*") else None
    path = named if below is None else f"{below}x"
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    return any(
        (below is not None and f"{_path(route)}/".startswith(below))
        or route.matches({**scope})[0] is not Match.NONE
        for route in app.routes
    )
