"""The values that a word of a command line may have: from the control plane, or from this machine.

No client is made: `import httpx` alone would take longer than a person wants to wait for a Tab.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode, urlsplit

from koco.cli import connection
from koco.client import context_file
from koco.events.model import OPEN, Status

#: A value, and what a shell that can shows beside it.
Candidate = tuple[str, str]

#: How long a control plane may take (seconds) before nothing is offered.
PATIENCE_S = 2.0

#: The size of an answer that is read (bytes), and its number of executions.
_READ, _LIMIT = 1 << 20, 50

#: What asks the shell for paths.
FILES: list[Candidate] = [(":files", "")]

_ENDED = ",".join(each for each in Status if each.is_final)
_OPEN = ",".join(OPEN)

#: Command -> the statuses of the executions that it is for.
_STATUSES = {
    **{"cancel": _OPEN, "stack": _OPEN, "wait": _OPEN, "send": _OPEN, "answer": "awaiting"},
    **{"retry": _ENDED, "resume": _ENDED, "delete": _ENDED},
}

_PATHS = ("FILE", "DIR", "PATH", "FOLDER", "MANIFEST", "LOCAL")


def of_argument(metavar: str, command: str, given: list[str]) -> Iterable[Candidate]:
    """Return the values of an argument, by its metavar, the command and the arguments before."""
    kind = metavar.strip("[].…")
    if kind == "NAME" or kind.startswith("NAME"):
        return _named(command)
    if kind == "N" and command in ("releases", "rollback"):
        return _releases(given)
    return _of_kind(kind, command)


def of_option(name: str, command: str, metavar: str = "") -> Iterable[Candidate]:
    """Return the values of an option, by its name and its metavar."""
    if name == "--context":
        return _contexts()
    if name == "--template":
        return _templates()
    if name == "--env":
        return ()
    return _of_kind(metavar.strip("[].…"), command if name != "--parent" else "")


def _of_kind(kind: str, command: str) -> Iterable[Candidate]:
    if kind in _PATHS:
        return FILES
    if kind == "FID":
        return _fids(command)
    found: dict[str, Callable[[], Iterable[Candidate]]] = {
        **{"FLOW": _flows, "SERVICE": _services, "STATUS": _statuses, "SCHEDULE": _schedules},
    }
    return found[kind]() if kind in found else ()


def _named(command: str) -> Iterable[Candidate]:
    if command.startswith("context "):
        return _contexts() if command != "context add" else ()
    if command in ("secret set", "secret unset"):
        return [(each["name"], "") for each in _items("/v1/secrets")]
    if command.startswith("config "):
        from koco.control.settings import Settings  # only here, because it imports msgspec

        ending = "=" if command == "config set" else ""
        return [(f"{name}{ending}", "") for name in Settings.__struct_fields__]
    return ()


def _fids(command: str) -> list[Candidate]:
    query = {"limit": str(_LIMIT)}
    if statuses := _STATUSES.get(command):
        query["status"] = statuses
    found = _items(f"/v1/executions?{urlencode(query)}")
    return [(each["fid"], f"{each['flow']} {each['status']}") for each in found]


def _flows() -> list[Candidate]:
    return [(each["name"], each.get("summary") or "") for each in _items("/v1/flows")]


def _services() -> list[Candidate]:
    return [(each["service"], "") for each in _items("/v1/services")]


def _schedules() -> list[Candidate]:
    return [(each["flow"], "") for each in _items("/v1/schedules")]


def _releases(given: list[str]) -> list[Candidate]:
    found = _items(f"/v1/services/{given[0]}/releases") if given else []
    return [(str(each["number"]), each.get("status") or "") for each in found]


def _statuses() -> list[Candidate]:
    return [(each.value, "") for each in Status]


def _contexts() -> list[Candidate]:
    return [(each.name, each.url) for each in context_file.load_contexts().values()]


def _templates() -> list[Candidate]:
    from koco.cli.commands import init  # only here, because it imports the templates' reader

    return [(each.name, each.description) for each in init.templates()]


def _items(path: str) -> list[Any]:
    """Return the items that the control plane answers with."""
    # Only here: it takes as long to import as everything that completes a command's name.
    import http.client

    context = connection.context()
    parts = urlsplit(context.url)
    if parts.scheme == "https":
        import ssl  # the same

        trust = ssl.create_default_context(cafile=context.ca or None)
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=PATIENCE_S, context=trust
        )
    else:
        link = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    try:
        head = {"Authorization": f"Bearer {context.key}"} if context.key else {}
        link.request("GET", parts.path.rstrip("/") + path, headers=head)
        answer = link.getresponse()
        return list(json.loads(answer.read(_READ))["items"]) if answer.status == 200 else []
    finally:
        link.close()
