"""What of a service's own endpoint is the public's: what a manifest's `endpoint.public` names.

Whoever asks there is nobody: no signature at Serve's port, and no key at the control plane's.
"""

from collections.abc import Iterable
from typing import Any

from koco.errors import DeployError
from koco.manifest.problems import nearest
from koco.sdk.handlers import INTERNAL

#: The variable that tells a replica what is public, as JSON.
VARIABLE = "KOCO_PUBLIC"


def is_public(path: str, named: Iterable[str]) -> bool:
    """Say whether a path, decoded and as the application sees it, is one that is named.

    `/a` names itself, `/a/*` what is below it. What could be read as another path is none.
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
    """Hold what is to be public against the routes of an application.

    Raises:
        DeployError: it is no route, or a flow's.
    """
    for each in named:
        for path, route in app.enters.items():
            if is_public(path, [each]):
                name = route.handler.called
                raise DeployError(
                    f"endpoint.public: {each!r} opens the flow at {path!r} ({name}) to the public",
                    hint="a launch needs somebody: let callers have a key with the scope `launch`",
                )
        if not _is_there(app, each):
            paths = sorted({str(path) for one in app.routes if (path := _path(one))})
            known = [path for path in paths if path not in app.enters]
            near = nearest(each, known)
            raise DeployError(
                f"endpoint.public: there is no route at {each!r}",
                hint=f"did you mean {near!r}?" if near else f"routes: {', '.join(known)}",
            )


def _path(route: Any) -> str:
    return str(getattr(route, "path", ""))


def _is_there(app: Any, named: str) -> bool:
    from starlette.routing import Match

    below = named[:-1] if named.endswith("/*") else None
    scope = {"type": "http", "method": "GET", "path": named, "root_path": "", "headers": []}
    for route in app.routes:
        if below is not None and f"{_path(route)}/".startswith(below):
            return True
        if route.matches({**scope, "path": named if below is None else f"{below}x"})[0] is not (
            Match.NONE
        ):
            return True
    return False
