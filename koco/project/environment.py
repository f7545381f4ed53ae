"""The environments of a project: `[env.NAME]` in `koco.toml`, and how one changes a manifest.

Mappings are merged key by key, anything else is replaced. Flows can be given as a table by name;
each is then merged into the flow of that name.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from koco.manifest.problems import KeyPath, Problem, unknown_key
from koco.project import env_file

#: The variable that names the environment where no option does.
VARIABLE = "KOCO_ENV"


@dataclass(frozen=True)
class Environment:
    """An environment of a project. One without a name has only `env_files`."""

    name: str = ""
    context: str | None = None
    timeout_s: float | None = None
    #: Values for the variables in `runtime.env`; those of files, and of the process, come first.
    variables: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[Path, ...] = ()
    #: Changes of all manifests, and of those of single services.
    manifest: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)

    def environ(self, process: Mapping[str, str]) -> dict[str, str]:
        """Return the values of variables: the environment's own, its files', the process's."""
        return {**self.variables, **self._from_files, **process}

    @property
    def hidden_names(self) -> frozenset[str]:
        """The names of the variables of its files. Their values are not shown."""
        return frozenset(self._from_files)

    @cached_property
    def _from_files(self) -> dict[str, str]:
        """The variables of its files, as they were on first use."""
        return {
            name: value for path in self.env_files for name, value in env_file.read(path).items()
        }

    def changes(self, service: str) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
        """Yield the changes of a service's manifest, each with its place in `koco.toml`."""
        yield ("env", self.name, "manifest"), dict(self.manifest)
        if service in self.services:
            yield ("env", self.name, "services", service), dict(self.services[service])


def chosen(flag: str | None) -> str | None:
    """Return the name of the environment that an option or the variable selects, or None."""
    name = os.environ.get(VARIABLE, "") if flag is None else flag
    return name.strip() or None


def apply(data: Any, environment: Environment) -> tuple[Any, dict[KeyPath, KeyPath], list[Problem]]:
    """Return a manifest's data as an environment has it.

    Also return the places in `koco.toml` of the values that come from there, by their paths in the
    result, and the problems of changes that fit nowhere.
    """
    if not isinstance(data, dict):
        return data, {}, []
    places: dict[KeyPath, KeyPath] = {}
    problems: list[Problem] = []
    merged = data
    for at, changes in environment.changes(str(data.get("service"))):
        merged = _merged(merged, changes, (), at, places, problems)
    return merged, places, problems


def _merged(
    old: Any,
    new: Any,
    path: KeyPath,
    at: KeyPath,
    places: dict[KeyPath, KeyPath],
    problems: list[Problem],
) -> Any:
    """Return `new` merged into `old`. `path` is where that is, `at` where `new` stands."""
    if not isinstance(new, dict):
        places[path] = at
        return new
    if path == ("flows",) and isinstance(old, list):
        return _merged_flows(old, new, at, places, problems)
    if not isinstance(old, dict):
        places[path] = at
    found = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        found[key] = _merged(found.get(key), value, (*path, key), (*at, key), places, problems)
    return found


def _merged_flows(
    old: list[Any],
    new: dict[str, Any],
    at: KeyPath,
    places: dict[KeyPath, KeyPath],
    problems: list[Problem],
) -> list[Any]:
    names = [each.get("name") if isinstance(each, dict) else None for each in old]
    found = list(old)
    for name, value in new.items():
        if name not in names:
            known = [str(each) for each in names if each]
            problems.append(unknown_key((*at, name), known))
            continue
        number = names.index(name)
        path: KeyPath = ("flows", number)
        found[number] = _merged(found[number], value, path, (*at, name), places, problems)
    return found


def place_of(path: KeyPath, places: Mapping[KeyPath, KeyPath]) -> KeyPath | None:
    """Return where a value of a merged manifest stands in `koco.toml`; None if it does not."""
    for end in range(len(path), 0, -1):
        if (at := places.get(path[:end])) is not None:
            return (*at, *path[end:])
    return None
