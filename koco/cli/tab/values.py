"""The values that a word of a command line may have: from the control plane, or from this machine.

Little is imported: neither a client (`import httpx` alone would take longer than a person wants to
wait for a Tab) nor `http.client`, which imports a parser of e-mails.
"""

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from koco.cli.tab.table import Table

#: A value, and what a shell that can shows beside it.
Candidate = tuple[str, str]

#: How long a control plane may take (seconds) before nothing is offered.
PATIENCE_S = 2.0

#: The number of executions, or releases, that are offered.
_LIMIT = 50

#: What asks the shell for paths.
FILES: list[Candidate] = [(":files", "")]

#: Command -> which executions it is for: of these statuses in the table, or of this one.
_STATUSES = {
    **dict.fromkeys(("cancel", "stack", "wait", "send"), "open"),
    **dict.fromkeys(("retry", "resume", "delete"), "final"),
    "answer": "awaiting",
}

#: Command -> the path of the list that has its names.
_NAMES = {
    **dict.fromkeys(("secret set", "secret unset"), "/v1/secrets"),
    **dict.fromkeys(("key rotate", "key revoke"), "/v1/keys"),
    **dict.fromkeys(
        ("user update", "user disable", "user enable", "user remove", "user password"), "/v1/users"
    ),
}

_PATHS = ("FILE", "DIR", "PATH", "FOLDER", "MANIFEST", "LOCAL")


class Values:
    """The values for one command line, which may choose a context and an environment."""

    def __init__(self, known: Table, context: str | None, env: str | None) -> None:
        self._known = known
        self._context = context
        self._env = env

    def of_argument(self, metavar: str, command: str, given: list[str]) -> Iterable[Candidate]:
        """Return the values of an argument, by its metavar, its command and what is before it."""
        kind = metavar.strip("[].…")
        if kind.startswith("NAME"):
            return self._named(command)
        if kind == "N" and command in ("releases", "rollback"):
            return self._releases(given)
        if kind == "LOCK":
            return self._locks(given)
        return self._of_kind(kind, command)

    def of_option(self, name: str, command: str, metavar: str = "") -> Iterable[Candidate]:
        """Return the values of an option, by its name and its metavar."""
        if name in ("--context", "--contexts"):
            return self._contexts()
        if name == "--template":
            return self._known["templates"].items()
        if name == "--env":
            return self._environments()
        return self._of_kind(metavar.strip("[].…"), command if name != "--parent" else "")

    def _of_kind(self, kind: str, command: str) -> Iterable[Candidate]:
        if kind in _PATHS:
            return FILES
        if kind == "FID":
            return self._fids(command)
        found: dict[str, Callable[[], Iterable[Candidate]]] = {
            **{"FLOW": self._flows, "SERVICE": self._services, "SCHEDULE": self._schedules},
            "STATUS": lambda: _plain(itertools.chain(*self._known["statuses"].values())),
            "SCOPE": lambda: _plain(self._known["scopes"]),
        }
        return found[kind]() if kind in found else ()

    def _named(self, command: str) -> Iterable[Candidate]:
        if command.startswith("context "):
            return self._contexts() if command != "context add" else ()
        if path := _NAMES.get(command):
            return _plain(each["name"] for each in self._items(path))
        if command.startswith("config "):
            ending = "=" if command == "config set" else ""
            return _plain(f"{name}{ending}" for name in self._known["settings"])
        return ()

    def _fids(self, command: str) -> list[Candidate]:
        query = f"limit={_LIMIT}"
        if statuses := _STATUSES.get(command):
            query += f"&status={','.join(self._known['statuses'].get(statuses, [statuses]))}"
        found = self._items(f"/v1/executions?{query}")
        return [(each["fid"], f"{each['flow']} {each['status']}") for each in found]

    def _flows(self) -> list[Candidate]:
        return [(each["name"], each.get("summary") or "") for each in self._items("/v1/flows")]

    def _services(self) -> Iterable[Candidate]:
        return _plain(each["service"] for each in self._items("/v1/services"))

    def _schedules(self) -> list[Candidate]:
        """Return the schedules, and the flows that have them: the commands take either."""
        found = self._items("/v1/schedules")
        flows = dict.fromkeys((each["flow"], "all of its schedules") for each in found)
        return [*flows, *((each["id"], f"{each['flow']} {each['cron']}") for each in found)]

    def _releases(self, given: list[str]) -> list[Candidate]:
        found = self._items(f"/v1/services/{given[0]}/releases?limit={_LIMIT}") if given else []
        return [(str(each["number"]), each.get("status") or "") for each in found]

    def _locks(self, given: list[str]) -> list[Candidate]:
        found = self._items(f"/v1/executions/{given[0]}/locks") if given else []
        return [(each["name"], "") for each in found if each["status"] == "open"]

    def _contexts(self) -> list[Candidate]:
        from koco.client import context_file  # only for values that need it

        return [(each.name, each.url) for each in context_file.load_contexts().values()]

    def _environments(self) -> Iterable[Candidate]:
        from koco.client import context_file  # as above

        return _plain(context_file.environments())

    def _items(self, path: str) -> list[Any]:
        """Return the items that the control plane answers with."""
        # Only here: they take longer to import than completing a command's name takes in all.
        from koco.cli.tab import request
        from koco.client import context_file

        body = request.get(
            context_file.current(self._context, env=self._env), path, timeout_s=PATIENCE_S
        )
        return list(json.loads(body)["items"]) if body else []


def _plain(found: Iterable[str]) -> list[Candidate]:
    return [(each, "") for each in found]
