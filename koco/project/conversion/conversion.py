"""Converts deployment files into the files of a project."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from koco.errors import UsageError
from koco.manifest import rules
from koco.manifest.load import display_path
from koco.manifest.problems import InvalidValueError
from koco.project.config_file import FILE, MANIFEST
from koco.project.conversion import (
    code,
    environment,
    manifest_text,
    packages,
    placement,
    serving,
    sources,
)
from koco.project.conversion.draft import Draft, Note
from koco.project.conversion.sources import Application, Sources

#: The replacement of a setting of Serve as a whole.
_GLOBAL = {
    "http_options": "`koco up --host` and `--port` set the address of koco's API",
    "host": "`koco up --host` sets the address of koco's API",
    "port": "`koco up --port` sets the port of koco's API",
    "proxy_location": "koco passes requests on to services itself",
    "logging_config": "koco keeps the output of executions; `koco logs` shows it",
}


#: How processes differ from Kodosumi's.
_KEPT_PROCESSES = (
    "koco runs several executions in one process, one after another, so a module's variables stay "
    "from one to the next; `runner: {executions: 1}` gives each a new process, as Kodosumi does"
)


@dataclass(frozen=True)
class Service:
    """A converted application."""

    name: str
    #: The path of its manifest in the project.
    manifest: Path
    secrets: tuple[str, ...]
    notes: tuple[Note, ...]
    #: The flow to run first, if it is known.
    flow: str | None = None


@dataclass
class Conversion:
    """The files to write, by their paths in the project, and notes for the user."""

    files: dict[Path, str] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)
    #: Notes on the project as a whole.
    notes: list[Note] = field(default_factory=list)
    #: Files of the folder that were not read.
    skipped: list[Path] = field(default_factory=list)


def convert(path: Path, project: Path, *, name: str | None = None) -> Conversion:
    """Convert a deployment file, or a folder of them, for a project in the folder `project`.

    `name` is the service's name, if there is one application. Nothing is written.

    Raises:
        NotFoundError: there is no such path.
        ManifestError: a file is invalid, with the file, line and column of each problem.
        UsageError: there is no application, or `name` is given for several.
    """
    found = sources.read(path)
    if name is not None and len(found.applications) > 1:
        raise UsageError(
            f"{path} has {len(found.applications)} applications, so --name cannot name them",
            hint="name one file, or leave --name out: the services get the applications' names",
        )
    drafts = [_draft(each, found, project, name) for each in found.applications]
    _check_names(drafts, found.applications)
    result = Conversion(skipped=found.skipped)
    result.notes = [*_global_notes(found), *_shared_secrets(found.applications)]
    for draft in drafts:
        at = Path(MANIFEST) if len(drafts) == 1 else Path(f"{draft.service}.{MANIFEST}")
        result.files[at] = manifest_text.render(draft)
        result.services.append(Service(draft.service, at, tuple(draft.secrets), tuple(draft.notes)))
    result.files[Path(FILE)] = _config(project, path, result)
    return result


def _draft(application: Application, found: Sources, project: Path, name: str | None) -> Draft:
    draft = Draft(_service(application, name), _app(application), application.file)
    draft.description = application.description
    given = _name_of(application)
    if draft.service != given and name is None:
        message = f"{given!r} becomes {draft.service!r}: lower-case letters, digits and '-'"
        draft.note("name", message, "service", is_todo=False)
    root = placement.place(application, draft, project)
    if root:
        placement.leave_out(draft, root, found.files)
    target = code.ImportPath.of(draft.app)
    # Without the code only the file's form can tell. The setting does no harm to other services.
    draft.is_kodosumi = (
        code.uses_kodosumi(target.module, root) if root else application.is_kodosumis
    )
    environment.convert(application, draft)
    environment.note_env_file(draft, (root or project, project))
    packages.convert(application, draft, root or project / draft.root)
    serving.convert(application, draft, code.ingress_of(target, root) if root else None)
    if draft.is_kodosumi:
        draft.note("processes", _KEPT_PROCESSES, "runner", is_todo=False)
    return draft


def _name_of(application: Application) -> str:
    given = application.data.get("name")
    if given is not None and not isinstance(given, str):
        raise application.wrong(("name",), "text")
    return given or application.default_name


def _service(application: Application, name: str | None) -> str:
    given = name or _name_of(application)
    if slug := rules.slug(given):
        return slug
    raise application.error(("name",), f"{given!r} cannot be made a service's name", "use --name")


def _app(application: Application) -> str:
    path = application.data.get("import_path")
    if not isinstance(path, str):
        if path is None:
            raise application.error((), "key 'import_path' is missing", "module:object")
        raise application.wrong(("import_path",), "text")
    try:
        return rules.check_entrypoint(path)
    except InvalidValueError as exc:
        raise application.error(("import_path",), str(exc), exc.hint) from exc


def _check_names(drafts: list[Draft], applications: list[Application]) -> None:
    first: dict[str, Draft] = {}
    for draft, application in zip(drafts, applications, strict=True):
        if other := first.get(draft.service):
            message = f"{draft.service!r} is the service of {display_path(other.source)}, too"
            raise application.error(("name",), message, "each needs its own name")
        first[draft.service] = draft


def _global_notes(found: Sources) -> list[Note]:
    default = "koco starts Ray Serve with options of its own"
    return [
        Note(key, f"{_GLOBAL.get(key, default)} ({display_path(file)})")
        for key, file in sorted(found.global_keys.items())
    ]


def _shared_secrets(applications: list[Application]) -> list[Note]:
    """Return a note for each variable that has several values, because a secret has only one."""
    values: dict[str, set[str]] = {}
    for application in applications:
        draft = Draft("", "", application.file)
        environment.convert(application, draft)
        for name in draft.secrets:
            given = str(application.data["runtime_env"]["env_vars"][name])
            if not environment.stands_for_key(given):
                values.setdefault(name, set()).add(given)
    message = (
        "has several values, and a secret has one value for all services: choose one that all may "
        "use, or let one service read another name"
    )
    return [Note(name, message) for name, given in sorted(values.items()) if len(given) > 1]


def _config(project: Path, path: Path, result: Conversion) -> str:
    lines = manifest_text.comment(f"Made from {path} by `koco init --from`.")
    for note in result.notes:
        lines += manifest_text.comment(str(note))
    # JSON's texts and lists are TOML's, too.
    name = project.resolve().name or "project"
    manifests = [service.manifest.as_posix() for service in result.services]
    lines += ["[project]", f"name = {json.dumps(name)}", f"manifests = {json.dumps(manifests)}"]
    return "\n".join(lines) + "\n"
