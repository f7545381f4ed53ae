"""What a process answers that does not lead. It passes on everything that is not named here.

What is here needs the store alone, or what `koco.control.following` keeps in memory. If the answer
to one of these requests needs more, the part raises `OnlyLeaderError`, and it is passed on as well.
"""

import re
from typing import Any

from koco.control.container import Parts
from koco.control.services.catalog import Entry
from koco.errors import KocoError
from koco.forms import InputFiles

#: The requests with GET or HEAD, by their paths.
READS = (
    "/health",
    "/openapi.json",
    "/v1/audit",
    "/v1/changes",
    "/v1/events",
    "/v1/executions",
    "/v1/executions/{fid}",
    "/v1/executions/{fid}/events",
    "/v1/executions/{fid}/files",
    "/v1/executions/{fid}/locks",
    "/v1/executions/{fid}/result",
    "/v1/executions/{fid}/steps",
    "/v1/flows",
    "/v1/flows/{name:path}",
    "/v1/locks",
    "/v1/me",
    "/v1/metrics",
    "/v1/services",
    "/v1/tags",
    "/v1/usage",
)
_LAUNCHES = "/v1/flows/"
#: Headers with which a launch needs the leader: it keeps the secrets of webhooks, and knows how an
#: execution goes that has just begun.
_NOT_WITH = (b"webhook", b"prefer")


def _pattern(path: str) -> str:
    """Return the regular expression of a path, in which `{name:path}` may have slashes."""
    return re.sub(r"\\{\w+:path\\}", ".+", re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))


_READS = re.compile("|".join(map(_pattern, READS)))


def has(parts: Parts, scope: Any) -> bool:
    """Whether this process can probably answer a request."""
    path: str = scope["path"]
    if scope["method"] in ("GET", "HEAD"):
        if path.startswith(_LAUNCHES) and _find(parts, path.removeprefix(_LAUNCHES)) is None:
            return False
        return _READS.fullmatch(path) is not None
    if scope["method"] == "POST" and path.startswith(_LAUNCHES):
        return _takes_launch(parts, path.removeprefix(_LAUNCHES), scope["headers"])
    return False


def _takes_launch(parts: Parts, flow: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a launch can be committed here."""
    if any(name in _NOT_WITH for name, _ in headers):
        return False
    entry = _find(parts, flow)
    if entry is None or entry.path is not None:
        return False
    if entry.form is not None and any(isinstance(each, InputFiles) for each in entry.form.fields):
        return False
    limits = parts.supervisor.limits(parts.catalog.release(entry.service), entry.flow.name)
    return not parts.supervisor.load.is_bounded(limits)


def _find(parts: Parts, flow: str) -> Entry | None:
    """Return a flow, or None if only the leader may know it, from a newer release."""
    try:
        return parts.catalog.find(flow)
    except KocoError:
        return None
