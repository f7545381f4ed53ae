"""The paths of flows, which may have parameters: `/reports/{year}`."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from koco.errors import InputsError
from koco.sdk.endpoint.protocol import flow_name

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)(?::(\w+))?\}")
#: The values of Starlette's kinds of parameters. `path` may have slashes, others have none.
_KINDS = {
    "int": re.compile(r"[0-9]+"),
    "float": re.compile(r"[0-9]+(\.[0-9]+)?"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"),
}
_DOTS = {".", ".."}


def takes(own: str, path: str) -> bool:
    """Return whether a route with this path of its own takes a request to a path.

    It may return True if the path has several parameters between two slashes and the route does
    not. A regular expression of the service's would be exact, and could take any time.
    """
    if "{" not in own:
        return own == path
    wanted, given = own.split("/"), path.split("/")
    at = next((index for index, each in enumerate(wanted) if ":path}" in each), None)
    if at is None:
        return len(wanted) == len(given) and all(map(_fits, wanted, given))
    rest = len(wanted) - at - 1
    return (
        len(given) >= len(wanted)
        and all(map(_fits, wanted[:at], given))
        and given[at].startswith(wanted[at].partition("{")[0])
        and all(map(_fits, wanted[at + 1 :], given[len(given) - rest :]))
    )


def _fits(wanted: str, given: str) -> bool:
    """Return whether the part between two slashes fits that of a route."""
    before, brace, more = wanted.partition("{")
    if not brace:
        return wanted == given
    inner, _, after = more.rpartition("}")
    value = given[len(before) : len(given) - len(after)]
    if not value or given != f"{before}{value}{after}":
        return False
    kind = _KINDS.get(inner.partition(":")[2])
    return kind is None or kind.fullmatch(value) is not None


def parameters(own: str) -> tuple[str, ...]:
    """Return the names of a path's parameters, in order."""
    return tuple(dict.fromkeys(found[1] for found in _PARAMETER.finditer(own)))


def fill(own: str, values: Mapping[str, Any]) -> str:
    """Return a route's path with values in place of its parameters.

    Raises:
        InputsError: a value is missing, or does not fit.
    """
    errors = {}
    found = own
    for parameter in _PARAMETER.finditer(own):
        name, value = parameter[1], values.get(parameter[1])
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            errors[name] = f"is part of the flow's path {own}: give it as an input"
            continue
        found = found.replace(parameter[0], str(value))
    if not errors and (not takes(own, found) or _DOTS & set(found.split("/"))):
        errors = {name[1]: f"does not fit the path {own}" for name in _PARAMETER.finditer(own)}
    if errors:
        raise InputsError(**errors)
    return found


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
