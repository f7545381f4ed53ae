"""The manifest of code that exists: of one function, or of an endpoint of one's own."""

import inspect
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koco.cli.local_run import loading, source
from koco.cli.local_run.source import Source
from koco.cli.scaffold.names import Names
from koco.errors import ConflictError
from koco.manifest import rules
from koco.project.config_file import FILE, MANIFEST
from koco.project.conversion import manifest_text
from koco.project.conversion.conversion import Conversion, Service
from koco.project.conversion.draft import Note
from koco.runner.flow import Flow, load_flow
from koco.sdk.endpoint import serving
from koco.sdk.entrypoints import loader
from koco.sdk.entrypoints.signature import NOTHING, signature_of


@dataclass(frozen=True)
class Declared:
    """What a manifest says of the code: its keys, what to know, and the flow to run first."""

    keys: dict[str, Any]
    notes: list[Note]
    flow: str
    #: What to add to a manifest that exists.
    line: str


def make(named: str, directory: Path, *, name: str | None = None) -> Conversion:
    """Return the manifest and the `koco.toml` for a function, or for an endpoint of one's own.

    Raises:
        NotFoundError: there is no such file, module or object, or it can be neither.
        UsageError: no object is named.
        DeployError: the module cannot be imported; the detail is the traceback.
        ConflictError: there is a manifest already; the hint is what to add to it.
    """
    service = Names.of(name or directory.resolve().name).service
    found = source.find(named)
    declared = _declare(found, service)
    if os.path.lexists(directory / MANIFEST):
        raise ConflictError(f"{directory / MANIFEST} exists", hint=f"add to it {declared.line}")
    runtime, notes = _packages(found.root)
    notes = [*declared.notes, *notes]
    data = {
        "service": service,
        "root": _root(found.root, directory),
        **declared.keys,
        "runtime": runtime,
    }
    lines = manifest_text.comment(f"Made from {named} by `koco init --from`.")
    for note in notes:
        lines += manifest_text.comment(str(note))
    lines.append(manifest_text.dump({key: value for key, value in data.items() if value}))
    config = f"[project]\nname = {json.dumps(service)}\nmanifests = [{json.dumps(MANIFEST)}]\n"
    made = Conversion({Path(MANIFEST): "\n".join(lines) + "\n", Path(FILE): config})
    made.services.append(Service(service, Path(MANIFEST), (), tuple(notes), declared.flow))
    return made


def _declare(found: Source, service: str) -> Declared:
    """Import the entrypoint, and return its part of the manifest."""
    source.make_importable(found)
    with loading.explained(found, otherwise="write the manifest by hand: docs/manifest.md"):
        if _is_app(loader.find(found.entrypoint)):
            about = serving.describe(found.entrypoint, service)
            line = f"`app: {found.entrypoint}`"
            return Declared({"app": found.entrypoint}, [], about.flows[0].name, line)
        flow = load_flow(found.function, found.entrypoint, None)
    slug = rules.slug(found.function.replace(".", "-").lstrip("_")) or "run"
    keys = {"name": slug, "entrypoint": found.entrypoint}
    if summary := (inspect.getdoc(flow.entrypoint) or "").partition("\n")[0].strip().rstrip("."):
        keys["summary"] = summary
    line = f"under `flows`: `- {{name: {slug}, entrypoint: {found.entrypoint!r}}}`"
    return Declared({"flows": [keys]}, _about_inputs(flow), slug, line)


def _is_app(found: Any) -> bool:
    """Return whether an object is an application that handles requests, and so no flow."""
    kind = type(found).__module__
    return hasattr(found, "enters") or kind.startswith(("fastapi", "starlette", "ray.serve"))


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
        return []  # pip and uv report errors of this file
