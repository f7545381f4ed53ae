"""Checks that the files with a service's dependencies are shipped and valid."""

import posixpath
import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING

from koco.manifest import requirements
from koco.manifest.problems import KeyPath, Problem

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

#: Returns a shipped file's text by its name, or None if it is not shipped.
TextOf = Callable[[str], str | None]


def find_missing(manifest: "Manifest", text_of: TextOf) -> list[Problem]:
    """Return a problem for each file that the manifest names and that is not shipped."""
    runtime, problems = manifest.runtime, []
    hint = "check the ignore rules and runtime.files"
    for key in ("requirements", "pyproject"):
        name = getattr(runtime, key)
        if name is not None and text_of(name) is None:
            path: KeyPath = ("runtime", key)
            problems.append(Problem(path, f"{name} is not among the files to ship", hint))
    if (
        runtime.pyproject is not None
        and not problems
        and text_of(lock_path(runtime.pyproject)) is None
    ):
        message = f"there is no {lock_path(runtime.pyproject)} among the files to ship"
        hint = f"`uv lock` makes it next to {runtime.pyproject}; is it ignored?"
        problems.append(Problem(("runtime", "pyproject"), message, hint))
    return problems


def find_faults(manifest: "Manifest", text_of: TextOf) -> list[str]:
    """Return the problems within those files, as `file:line:column: message`."""
    runtime = manifest.runtime
    if runtime.requirements is not None and text_of(runtime.requirements) is not None:
        return requirements.read(runtime.requirements, text_of).problems
    if runtime.pyproject is not None and (text := text_of(runtime.pyproject)) is not None:
        try:
            if "project" not in tomllib.loads(text):
                return [f"{runtime.pyproject}:1:1: table [project] is missing"]
        except (ValueError, RecursionError) as exc:  # also deep nesting and huge numbers
            return [f"{runtime.pyproject}:1:1: is not TOML: {exc}"]
    return []


def lock_path(pyproject: str) -> str:
    """Return the path of a pyproject.toml's lock."""
    return posixpath.join(posixpath.dirname(pyproject), "uv.lock")


def required_python(text: str) -> str | None:
    """Return the Python versions that a pyproject.toml requires, or None."""
    try:
        wanted = tomllib.loads(text).get("project", {}).get("requires-python")
    except (ValueError, AttributeError, RecursionError):
        return None  # no manifest names this file, so its errors do not matter to a deploy
    return wanted if isinstance(wanted, str) else None
