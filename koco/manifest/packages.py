"""Whether what a manifest has nodes install is among the files that are shipped, and readable."""

import posixpath
import tomllib
from collections.abc import Callable

from koco.manifest import requirements
from koco.manifest.model import Manifest
from koco.manifest.problems import KeyPath, Problem

#: Gives a shipped file's text by its name; None is no such file.
TextOf = Callable[[str], str | None]


def find_missing(manifest: Manifest, text_of: TextOf) -> list[Problem]:
    """Return the problems of files that are named and not shipped."""
    runtime, problems = manifest.runtime, []
    hint = "ignore rules and runtime.files decide which those are"
    for key in ("requirements", "pyproject"):
        name = getattr(runtime, key)
        if name is not None and text_of(name) is None:
            path: KeyPath = ("runtime", key)
            problems.append(Problem(path, f"{name} is not among the files to ship", hint))
    if (
        runtime.pyproject is not None
        and not problems
        and text_of(lock_of(runtime.pyproject)) is None
    ):
        message = f"there is no {lock_of(runtime.pyproject)} among the files to ship"
        hint = f"`uv lock` makes it beside {runtime.pyproject}; is it ignored?"
        problems.append(Problem(("runtime", "pyproject"), message, hint))
    return problems


def find_faults(manifest: Manifest, text_of: TextOf) -> list[str]:
    """Return what is wrong within those files, as `file:line:column: what`."""
    runtime = manifest.runtime
    if runtime.requirements is not None and text_of(runtime.requirements) is not None:
        return requirements.read(runtime.requirements, text_of).problems
    if runtime.pyproject is not None and (text := text_of(runtime.pyproject)) is not None:
        try:
            if "project" not in tomllib.loads(text):
                return [f"{runtime.pyproject}:1:1: table [project] is missing"]
        except (ValueError, RecursionError) as exc:  # also what nests or counts without end
            return [f"{runtime.pyproject}:1:1: is no TOML: {exc}"]
    return []


def lock_of(pyproject: str) -> str:
    """Return where a pyproject.toml's lock stands."""
    return posixpath.join(posixpath.dirname(pyproject), "uv.lock")


def python_wanted(text: str) -> str | None:
    """Return what a pyproject.toml says of Python's version, if it says anything."""
    try:
        wanted = tomllib.loads(text).get("project", {}).get("requires-python")
    except (ValueError, AttributeError, RecursionError):
        return None  # no manifest names it, so its faults are no concern of a deploy
    return wanted if isinstance(wanted, str) else None
