"""The paths of flows, which may have parameters: `/reports/{year}`."""

import functools
import re
from collections.abc import Collection, Iterator

from koco.sdk.endpoint.handlers import flow_name


def takes(own: str, path: str) -> bool:
    """Return whether a route with this path of its own takes a request to a path."""
    return own == path or ("{" in own and _pattern(own).match(path) is not None)


@functools.lru_cache(maxsize=1024)
def _pattern(own: str) -> re.Pattern[str]:
    from starlette.routing import compile_path  # the control plane needs it only for such paths

    return compile_path(own)[0]


def names(paths: Collection[str], service: str) -> dict[str, str]:
    """Return the name of each path's flow. Later paths of an equal name get a number.

    Kodosumi tells flows by their paths, so an app may have `/a/b` and `/a-b`.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = first = flow_name(path, service)
        number = 1
        while name in taken:
            number += 1
            name = f"{first[:60]}-{number}"
        taken.add(name)
        found[path] = name
    return found


class FlowPaths(Collection[str]):
    """Paths as routes have them. A path is in it if one of the routes takes it."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}

    def add(self, path: str) -> None:
        """Add a route's path."""
        self._paths[path] = None

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and any(takes(each, path) for each in self._paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
