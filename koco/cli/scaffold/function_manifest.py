"""The manifest of one function that exists."""

import inspect
import json
import os
import tomllib
from pathlib import Path
from typing import Any

from koco.cli.local_run import loading, source
from koco.cli.scaffold.names import Names
from koco.errors import ConflictError
from koco.manifest import rules
from koco.project.config_file import FILE, MANIFEST
from koco.project.conversion import manifest_text
from koco.project.conversion.conversion import Conversion, Service
from koco.project.conversion.draft import Note
from koco.runner.flow import Flow
from koco.sdk.entrypoints.signature import NOTHING, signature_of

#: What to do where a package that the code needs cannot be installed beside koco.
_OTHERWISE = "write the manifest by hand: docs/manifest.md"


def make(named: str, directory: Path, *, name: str | None = None) -> Conversion:
    """Return the manifest and the `koco.toml` for a function that `named` names.

    Raises:
        NotFoundError: there is no such file, module or function, or it cannot be a flow.
        UsageError: no function is named.
        DeployError: the module cannot be imported; the detail is the traceback.
        ConflictError: there is a manifest already; the hint is what to add to it.
    """
    service = Names.of(name or directory.resolve().name).service
    found = source.find(named)
    source.make_importable(found)
    flow = loading.load(found, None, otherwise=_OTHERWISE)
    slug = rules.slug(found.function.replace(".", "-").lstrip("_")) or "run"
    if os.path.lexists(directory / MANIFEST):
        raise ConflictError(
            f"{directory / MANIFEST} exists",
            hint=f"add to its `flows`: - {{name: {slug}, entrypoint: {found.entrypoint!r}}}",
        )
    runtime, notes = _packages(found.root)
    notes += _about_inputs(flow)
    about = {"name": slug, "entrypoint": found.entrypoint, "summary": _summary(flow)}
    data = {
        "service": service,
        "root": _root(found.root, directory),
        "flows": [{key: value for key, value in about.items() if value}],
        "runtime": runtime,
    }
    lines = manifest_text.comment(f"Made from {named} by `koco init --from`.")
    for note in notes:
        lines += manifest_text.comment(str(note))
    lines.append(manifest_text.dump({key: value for key, value in data.items() if value}))
    config = f"[project]\nname = {json.dumps(service)}\nmanifests = [{json.dumps(MANIFEST)}]\n"
    made = Conversion({Path(MANIFEST): "\n".join(lines) + "\n", Path(FILE): config})
    made.services.append(Service(service, Path(MANIFEST), (), tuple(notes), slug))
    return made


def _summary(flow: Flow) -> str:
    return (inspect.getdoc(flow.entrypoint) or "").partition("\n")[0].strip().rstrip(".")


def _root(root: Path, directory: Path) -> str | None:
    path = Path(os.path.relpath(root, directory.resolve())).as_posix()
    return None if path == "." else path


def _about_inputs(flow: Flow) -> list[Note]:
    """Return a note on each input that callers may give anything for, as no type says what."""
    signature = signature_of(flow.entrypoint)
    if flow.form is None:
        message = "takes any JSON object; `inputs` of the flow makes a form and checks the values"
        return [Note("inputs", message)]
    untyped = [each.target for each in signature.direct if each.hint is NOTHING]
    message = "has no type, so it takes any JSON; a type hint (such as `: str`) makes a field"
    return [Note(name, message) for name in untyped]


def _packages(root: Path) -> tuple[dict[str, Any], list[Note]]:
    """Return the keys of `runtime` for the packages that a project lists already, and notes."""
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and (root / "uv.lock").is_file():
        return {"pyproject": pyproject.name}, []
    if (root / "requirements.txt").is_file():
        return {"requirements": "requirements.txt"}, []
    if names := _dependencies(pyproject):
        message = (
            f"{', '.join(names)}: list under `runtime.dependencies` what a cluster has to install, "
            "or run `uv lock` and write `runtime: {pyproject: pyproject.toml}`"
        )
        return {}, [Note("pyproject.toml", message)]
    return {}, []


def _dependencies(pyproject: Path) -> list[str]:
    try:
        listed = tomllib.loads(pyproject.read_text("utf-8")).get("project", {})
        return [str(each) for each in listed.get("dependencies", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # whoever reads it for its own sake says what is wrong with it
