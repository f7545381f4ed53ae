"""A project: the folder with `koco.toml`, and the manifests that it names.

Stdlib only at the top: commands that only want to know where they are start fast.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.errors import ManifestError, NotFoundError
from koco.manifest.problems import KeyPath, Place, Problem, Wrong, expected, unknown_key

if TYPE_CHECKING:
    from koco.bundle import BundledFile
    from koco.manifest.document import Document
    from koco.manifest.model import Manifest

#: The file that makes a folder a project.
FILE = "koco.toml"

#: The manifest of a project that names none.
MANIFEST = "koco.yaml"


def _text(value: object) -> None:
    if not isinstance(value, str):
        raise expected("text", value)
    if not value.strip():
        raise Wrong("must not be empty")


def _patterns(value: object) -> None:
    if not isinstance(value, list):
        raise expected("a list of paths", value)
    if not value:
        raise Wrong("must have at least one element", f'for example ["{MANIFEST}"]')
    for each in value:
        _text(each)
        if Path(each).is_absolute():
            raise Wrong(f"{each!r} must be relative to {FILE}")


def _seconds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected("a number of seconds", value)
    if not 0 < value < math.inf:
        raise Wrong(f"must be above 0, got {value}")


@dataclass(frozen=True)
class Key:
    """What a key of `koco.toml` is for: its check, its schema and its meaning."""

    check: Callable[[object], None]
    schema: dict[str, Any]
    description: str
    required: bool = False


#: Every table of `koco.toml` and its keys.
KEYS: dict[str, dict[str, Key]] = {
    "project": {
        "name": Key(
            _text, {"type": "string", "minLength": 1}, "The project's name.", required=True
        ),
        "manifests": Key(
            _patterns,
            {"type": "array", "minItems": 1, "items": {"type": "string"}, "default": [MANIFEST]},
            "The manifests, as paths or globs relative to this file.",
        ),
    },
    "deploy": {
        "context": Key(
            _text,
            {"type": "string", "minLength": 1},
            "The context to use where neither option nor environment names one.",
        ),
        "timeout": Key(
            _seconds,
            {"type": "number", "exclusiveMinimum": 0},
            "Seconds that a deploy may take until the new release is ready.",
        ),
    },
}


@dataclass(frozen=True)
class Target:
    """A manifest to deploy, and the folder that is bundled for it. Read when first asked."""

    manifest_path: Path
    project: "Project | None" = None
    #: What fills the variables in `runtime.env`; None leaves them as they are written.
    environ: Mapping[str, str] | None = field(default=None, compare=False, repr=False)

    @property
    def root(self) -> Path:
        """The folder whose files are shipped: the manifest's own."""
        return self.manifest_path.parent

    @cached_property
    def manifest(self) -> "Manifest":
        """The manifest; raises `ManifestError` with all its problems."""
        from koco.manifest.load import manifest_of

        manifest = manifest_of(self._document)
        env = self._filled(manifest.runtime.env)
        runtime = manifest.runtime.model_copy(update={"env": env})
        return manifest.model_copy(update={"runtime": runtime})

    def _filled(self, env: dict[str, str]) -> dict[str, str]:
        """Return `runtime.env` with its variables filled in."""
        from koco.manifest import variables

        environ = _Anything() if self.environ is None else self.environ
        filled, problems = {}, []
        for name, value in env.items():
            try:
                filled[name] = variables.expand(value, environ)
            except Wrong as exc:
                problems.append(Problem(("runtime", "env", name), str(exc), exc.hint))
        if problems:
            raise self._document.error(problems)
        return env if self.environ is None else filled

    @cached_property
    def _document(self) -> "Document":
        from koco.manifest.load import read

        return read(self.manifest_path)

    @property
    def declarations(self) -> frozenset[Path]:
        """What says how to deploy, and is no code: never shipped, so that it changes none."""
        if self.project is None:
            return frozenset({self.manifest_path})
        return frozenset({self.manifest_path, self.project.root / FILE, *self.project.manifests})

    def files(self) -> "tuple[BundledFile, ...]":
        """Return the files that are shipped."""
        from koco import bundle

        return bundle.collect(self.root, self.manifest.runtime.files, without=self.declarations)

    def check(self) -> "Manifest":
        """Return the manifest; the files that it names are looked for, too."""
        from koco.manifest import modules, packages

        files = {file.name: file.path for file in self.files()}

        def text_of(name: str) -> str | None:
            return files[name].read_text("utf-8", "replace") if name in files else None

        missing = modules.find_missing(self.manifest, list(files))
        missing += packages.find_missing(self.manifest, text_of)
        faults = packages.find_faults(self.manifest, text_of)
        if missing or faults:
            told = self._document.error(missing).problems
            raise ManifestError([*told, *(self._beside(fault) for fault in faults)])
        return self.manifest

    def _beside(self, fault: str) -> str:
        """Return a fault with its file as a path that its user can open from here."""
        from koco.manifest.load import shown

        name, colon, rest = fault.partition(":")
        return shown(self.root / name) + colon + rest

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> list[str]:
        """Return the lines of a problem with the manifest that only its user can see."""
        return self._document.error([Problem(path, message, hint)]).problems


@dataclass(frozen=True)
class Project:
    """What `koco.toml` says."""

    name: str
    root: Path
    manifests: tuple[Path, ...]
    context: str | None = None
    timeout_s: float | None = None
    #: What the manifests were found by.
    patterns: tuple[str, ...] = ()

    def targets(self, args: Iterable[str] = ()) -> list[Target]:
        """Return the manifests that are named, or else all of the project."""
        named = list(args)
        if named:
            return _distinct(target for arg in named for target in _named(arg, self))
        if not self.manifests:
            raise NotFoundError(
                f"{self.root / FILE}: no file matches project.manifests",
                hint="name the manifest there, or `koco init` makes a project",
            )
        return _distinct(Target(_existing(path), self) for path in self.manifests)


def find(start: Path | None = None) -> Project | None:
    """Return the project that a folder (the current one) is in, or None."""
    here = (start or Path.cwd()).resolve()
    paths = (folder / FILE for folder in (here, *here.parents))
    path = next((path for path in paths if path.is_file()), None)
    return load(path) if path else None


def load(path: Path) -> Project:
    """Return the project that a `koco.toml` describes; `ManifestError` has all problems."""
    data = _read(path)
    project, deploy = data["project"], data.get("deploy", {})
    root = path.resolve().parent
    listed = project.get("manifests", [MANIFEST])
    found = dict.fromkeys(one for pattern in listed for one in _matches(root, pattern))
    return Project(
        name=project["name"],
        root=root,
        manifests=tuple(found),
        context=deploy.get("context"),
        timeout_s=deploy.get("timeout"),
        patterns=tuple(listed),
    )


def targets(args: Iterable[str] = (), *, start: Path | None = None) -> list[Target]:
    """Return what is to be deployed: the manifests that are named, or the project's.

    An argument is a manifest, or a folder with one or with a project. Without a
    `koco.toml`, a `koco.yaml` in the folder itself will do.
    """
    named, here = list(args), start or Path.cwd()
    project = find(here)
    if project is not None:
        return project.targets(named)
    if named:
        return _distinct(target for arg in named for target in _named(arg, None))
    if (here / MANIFEST).is_file():
        return [Target((here / MANIFEST).resolve())]
    raise NotFoundError(
        f"there is no {FILE} here or above, and no {MANIFEST} here",
        hint="`koco init` makes a project; or name a manifest",
    )


def check(
    chosen: Iterable[Target], *, environ: Mapping[str, str] | None = None
) -> tuple[list[Target], list[str]]:
    """Return the targets whose manifests are right, and the problems of all the others.

    With `environ`, the variables in their `runtime.env` are filled in from there.
    """
    valid: list[Target] = []
    problems: list[str] = []
    services: dict[str, Path] = {}
    for named in chosen:
        target = replace(named, environ=environ)
        try:
            service = target.check().service
        except ManifestError as exc:
            problems += exc.problems
            continue
        if other := services.get(service):
            message = f"{service!r} is the service of {other}, too"
            problems += target.problem(("service",), message, "each needs its own name")
            continue
        services[service] = target.manifest_path
        valid.append(target)
    return valid, problems


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `koco.toml`."""
    tables = {
        table: {
            "type": "object",
            "properties": {
                name: {**key.schema, "description": key.description} for name, key in keys.items()
            },
            "required": [name for name, key in keys.items() if key.required],
            "additionalProperties": False,
        }
        for table, keys in KEYS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:koco:schema:project:1",
        "title": FILE,
        "type": "object",
        "properties": tables,
        "required": ["project"],
        "additionalProperties": False,
    }


class _Anything(dict[str, str]):
    """An environment in which everything is set: what is wrong then is wrong in any."""

    def get(self, name: str, default: Any = None) -> Any:
        return "set"


def _matches(root: Path, pattern: str) -> list[Path]:
    # A plain path stays, there or not: that it is not there must be said, not passed over.
    if not set(pattern) & set("*?["):
        return [root / pattern]
    return sorted(path for path in root.glob(pattern) if path.is_file())


def _named(arg: str, project: Project | None) -> list[Target]:
    path = Path(arg)
    if not path.is_dir():
        return [Target(_existing(path), project)]
    if (path / FILE).is_file():
        return load(path / FILE).targets()
    return [Target(_existing(path / MANIFEST), project)]


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    raise NotFoundError(f"there is no manifest {path}", hint="`koco init` makes a project")


def _distinct(found: Iterable[Target]) -> list[Target]:
    return list({target.manifest_path: target for target in found}.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ManifestError([f"{path}:{_syntax(str(exc), text)}"]) from exc
    except UnicodeDecodeError as exc:
        raise ManifestError([f"{path}:1:1: this is no UTF-8"]) from exc
    except OSError as exc:
        raise NotFoundError(f"{path} cannot be read: {exc.strerror}") from exc
    if problems := list(_problems(data)):
        placed = sorted((_place(text, problem.path), str(problem)) for problem in problems)
        raise ManifestError([f"{path}:{line}:{col}: {said}" for (line, col), said in placed])
    return data


def _syntax(message: str, text: str) -> str:
    """Return tomllib's message with its place in front."""
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if found:
        return f"{found[2]}:{found[3]}: {found[1]}"
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return f"{line}:{column}: {message.removesuffix(' (at end of document)')}"


def _problems(data: dict[str, Any]) -> Iterable[Problem]:
    for table, content in data.items():
        if table not in KEYS:
            yield unknown_key((table,), KEYS)
        elif not isinstance(content, dict):
            wrong = expected(f"a table [{table}]", content)
            yield Problem((table,), str(wrong), wrong.hint)
        else:
            yield from _table(table, content)
    if "project" not in data:
        yield Problem((), "table [project] is missing", 'begin with [project] and name = "…"')


def _table(table: str, content: dict[str, Any]) -> Iterable[Problem]:
    keys = KEYS[table]
    for name, value in content.items():
        if name not in keys:
            yield unknown_key((table, name), keys)
            continue
        try:
            keys[name].check(value)
        except Wrong as exc:
            yield Problem((table, name), str(exc), exc.hint)
    for name, key in keys.items():
        if key.required and name not in content:
            yield Problem((table,), f"key {name!r} is missing", key.description.rstrip("."))


def _place(text: str, path: KeyPath) -> Place:
    """Return where a key stands: tomllib does not say. Its table, if the key is not found."""
    table = ""
    places: dict[str, Place] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*[\"']?([\w.-]+)", line):
            table = header[1]
            places.setdefault(table, (number, header.start(1) + 1))
        elif key := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line):
            dotted = f"{table}.{key[1]}" if table else key[1]
            places.setdefault(dotted, (number, key.start(1) + 1))
    parts = [str(part) for part in path]
    return places.get(".".join(parts)) or places.get(parts[0] if parts else "") or (1, 1)
