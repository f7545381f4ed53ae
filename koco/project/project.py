"""A project: the folder with `koco.toml`, and the manifests that it names.

Imports only the stdlib at the top, so commands that only need their location start fast.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.client import environment_names
from koco.errors import ManifestError, NotFoundError
from koco.manifest.problems import InvalidValueError, KeyPath, Problem, unknown_key
from koco.project import environment
from koco.project.config_file import ENV, FILE, MANIFEST, located, read
from koco.project.environment import Environment

if TYPE_CHECKING:
    from koco.manifest.model import Manifest
    from koco.manifest.yaml_document import Document
    from koco.project.file_tree import Tree


@dataclass(frozen=True)
class Target:
    """A manifest to deploy, and the folder that is bundled for it. Both are read on first use."""

    manifest_path: Path
    project: "Project | None" = None
    #: The values for the variables in `runtime.env`; None leaves the variables as written.
    environ: Mapping[str, str] | None = field(default=None, compare=False, repr=False)
    #: What is different in the chosen environment.
    environment: Environment = field(default=Environment(), compare=False, repr=False)
    #: The person whose own copy of the service this is; see `koco dev`. Empty for the service.
    owner: str = ""

    @property
    def root(self) -> Path:
        """The folder whose files are shipped: the manifest's own, or its `root`."""
        return (self.manifest_path.parent / self.manifest.root).resolve()

    @cached_property
    def manifest(self) -> "Manifest":
        """The manifest; raises `ManifestError` with all its problems."""
        manifest = self._declared
        env = self._filled(manifest.runtime.env)
        runtime = manifest.runtime.model_copy(update={"env": env})
        filled = manifest.model_copy(update={"runtime": runtime})
        return own_copy(filled, self.owner) if self.owner else filled

    @cached_property
    def _declared(self) -> "Manifest":
        """The manifest in its environment, with the variables in `runtime.env` as written."""
        from koco.manifest.checks import find_problems
        from koco.manifest.model import Manifest

        data, places, lost = environment.apply(self._document.data, self.environment)
        problems = [] if lost else find_problems(data)
        if not (problems or lost or self._document.problems):
            return Manifest.model_validate(data)
        ours, theirs = [], list(lost)
        for each in problems:
            if (at := environment.place_of(each.path, places)) is None:
                ours.append(each)
            else:
                theirs.append(replace(each, path=at, place=None))
        lines = self._document.error(ours).problems if ours or self._document.problems else []
        if self.project is not None and theirs:
            lines += self.project.located(theirs)
        raise ManifestError(lines)

    def _filled(self, env: dict[str, str]) -> dict[str, str]:
        from koco.manifest import variables

        environ = _Anything() if self.environ is None else self.environment.environ(self.environ)
        filled, problems = {}, []
        for name, value in env.items():
            try:
                filled[name] = variables.expand(value, environ)
            except InvalidValueError as exc:
                problems.append(exc.at(("runtime", "env", name)))
        if problems:
            raise self._document.error(problems)
        return env if self.environ is None else filled

    @cached_property
    def _document(self) -> "Document":
        from koco.manifest.load import read

        return read(self.manifest_path)

    @property
    def timeout_s(self) -> float | None:
        """Seconds that a deploy may take, if the environment or the project says so."""
        ours = self.project.timeout_s if self.project else None
        return self.environment.timeout_s or ours

    @property
    def hidden_env(self) -> set[str]:
        """The keys of `runtime.env` whose values are made of variables from `.env` files."""
        from koco.manifest import variables

        names = self.environment.hidden_names
        return {
            key
            for key, value in self._declared.runtime.env.items()
            if names.intersection(variables.names(value))
        }

    @property
    def declared_service(self) -> str:
        """The service's name in the file, whatever an environment calls it."""
        data = self._document.data
        return str(data.get("service")) if isinstance(data, dict) else ""

    @property
    def declarations(self) -> frozenset[Path]:
        """The files that configure the deploy. They are never shipped, and do not count as code.

        They are the manifest, all manifests of the project that its folder belongs to, and the
        `.env` files that were named.
        """
        return self._manifests | {path.resolve() for path in self.environment.env_files}

    @property
    def _manifests(self) -> frozenset[Path]:
        here = self.manifest_path.parent
        folder = next((each for each in (here, *here.parents) if (each / FILE).is_file()), None)
        if folder is None:
            return frozenset({self.manifest_path})
        is_ours = self.project is not None and self.project.root == folder
        project = self.project if self.project and is_ours else load(folder / FILE)
        return project.declarations | {self.manifest_path}

    @cached_property
    def tree(self) -> "Tree":
        """The files that are shipped, as they were on first use."""
        return self.look()

    def look(self) -> "Tree":
        """Return the files that are shipped, as they are now."""
        from koco.project import file_tree, output_files

        runtime = self.manifest.runtime
        return file_tree.read(
            self.root,
            (*runtime.files, f"!{FILE}"),
            include=runtime.include,
            without=self.declarations,
            outputs=output_files.written(),
        )

    def check(self) -> "Manifest":
        """Return the manifest, after checking that the files it names exist."""
        from koco import file_reading
        from koco.manifest import module_check, package_check
        from koco.manifest.load import display_path
        from koco.project.file_tree import unreadable

        files = {file.name: file.path for file in self.tree.files}

        def text_of(name: str) -> str | None:
            if name not in files:
                return None
            try:
                with file_reading.opened(files[name]) as file:
                    return file.read().decode("utf-8", "replace")
            except OSError as exc:
                raise unreadable(name, exc) from exc

        missing = module_check.find_missing(self.manifest, list(files), self._elsewhere)
        missing += package_check.find_missing(self.manifest, text_of)
        faults = []
        for fault in package_check.find_faults(self.manifest, text_of):
            name, colon, rest = fault.partition(":")
            # A path that the user can open from the current folder.
            faults.append(display_path(self.root / name) + colon + rest)
        # No line of the manifest is to blame for a file's name.
        shadows = [
            f"{self._document.source}: {each}" for each in module_check.find_shadows(list(files))
        ]
        if missing or faults or shadows:
            raise ManifestError([*self._document.error(missing).problems, *shadows, *faults])
        return self.manifest

    def _elsewhere(self, path: str) -> str | None:
        """Return where a module is that is not shipped: left out here, or in a nearby folder."""
        names = (f"{path}.py", f"{path}/__init__.py")
        for folder in self._near():
            name = next((each for each in names if (folder / each).is_file()), None)
            if name is not None and folder == self.root:
                return f"{name} is here, but ignore rules or runtime.files leave it out"
            if name is not None:
                way = os.path.relpath(folder, self.manifest_path.parent)
                return f"there is {folder / name}; `root: {way}` ships that folder"
        return None

    def _near(self) -> Iterator[Path]:
        """Yield the root, then each folder above and its subfolders, up to the project's folder."""
        above = (self.root, *self.root.parents)
        ours = self.project.root if self.project else None
        tops = [each for each in above if each == ours or (each / ".git").exists()]
        for height, folder in enumerate(above):
            yield folder
            # Without a project, folders further up may belong to anyone.
            if tops or height < 2:
                yield from _folders(folder)
            if folder in tops:
                return

    def notes(self) -> list[str]:
        """Return warnings: things that may be mistakes."""
        from koco.manifest import module_check

        names = [file.name for file in self.tree.files]
        found = module_check.find_foreign(self.manifest, names)
        return self._document.error(found).problems if found else []

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> list[str]:
        """Return the lines of a problem with the manifest that only this machine can detect."""
        return self._document.error([Problem(path, message, hint)]).problems


def own_copy(manifest: "Manifest", owner: str) -> "Manifest":
    """Return the manifest of a person's own copy of a service: `hello~ada`.

    It has no schedules, which would run twice, and opens no path to the public.
    """
    endpoint = manifest.endpoint.model_copy(update={"public": ()})
    own = {"service": f"{manifest.service}~{owner}", "schedule": (), "endpoint": endpoint}
    return manifest.model_copy(update=own)


@dataclass(frozen=True)
class Project:
    """The content of `koco.toml`."""

    name: str
    root: Path
    manifests: tuple[Path, ...]
    context: str | None = None
    timeout_s: float | None = None
    #: The patterns that found the manifests.
    patterns: tuple[str, ...] = ()
    environments: Mapping[str, Environment] = field(default_factory=dict)

    @cached_property
    def declarations(self) -> frozenset[Path]:
        """Its manifests as resolved paths, because a path may contain links."""
        return frozenset(path.resolve() for path in self.manifests)

    @cached_property
    def services(self) -> frozenset[str]:
        """The services that its manifests declare, whatever an environment calls them."""
        return frozenset(each.declared_service for each in self.targets())

    def environment(self, name: str) -> Environment:
        """Return an environment; raises `NotFoundError`, which lists those that exist."""
        if name not in self.environments:
            raise environment_names.unknown(name, self.environments, self.root / FILE)
        return self.environments[name]

    def located(self, problems: Iterable[Problem]) -> list[str]:
        """Return problems of its `koco.toml` as lines with their places."""
        file = self.root / FILE
        return located(file, file.read_text("utf-8-sig"), problems)

    def targets(self) -> list[Target]:
        """Return all manifests of the project."""
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
    """Return the project of a `koco.toml`; raises `ManifestError` with all problems."""
    data = read(path)
    project, deploy = data["project"], data.get("deploy", {})
    root = path.resolve().parent
    listed = project.get("manifests", [MANIFEST])
    found: dict[Path, None] = {}
    for pattern in listed:
        # A plain path stays even if the file is missing, so that the missing file is reported.
        is_glob = set(pattern) & set("*?[")
        paths = sorted(filter(Path.is_file, root.glob(pattern))) if is_glob else [root / pattern]
        found |= dict.fromkeys(paths)
    return Project(
        name=project["name"],
        root=root,
        manifests=tuple(found),
        context=deploy.get("context"),
        timeout_s=deploy.get("timeout"),
        patterns=tuple(listed),
        environments={
            name: _environment(name, each, root) for name, each in data.get(ENV, {}).items()
        },
    )


def _environment(name: str, table: dict[str, Any], root: Path) -> Environment:
    files = table.get("env_file", [])
    return Environment(
        name=name,
        context=table.get("context"),
        timeout_s=table.get("timeout"),
        variables=table.get("variables", {}),
        env_files=tuple(root / each for each in ([files] if isinstance(files, str) else files)),
        manifest=table.get("manifest", {}),
        services=table.get("services", {}),
    )


def targets(args: Iterable[str] = (), *, start: Path | None = None) -> list[Target]:
    """Return the targets to deploy: the named manifests, or those of the project.

    An argument is a manifest, or a folder with a manifest or a project. Without a `koco.toml`, a
    `koco.yaml` in the folder itself is used.
    """
    here = start or Path.cwd()
    project = find(here)
    if named := list(args):
        return _distinct(target for arg in named for target in _named(arg, project))
    if project is not None:
        return project.targets()
    if (here / MANIFEST).is_file():
        return [Target((here / MANIFEST).resolve())]
    raise NotFoundError(
        f"there is no {FILE} here or above, and no {MANIFEST} here",
        hint="`koco init` makes a project; or name a manifest",
    )


def in_environment(
    chosen: Iterable[Target], name: str | None, *, env_files: Sequence[Path] = ()
) -> list[Target]:
    """Return targets as they are in an environment of their project, and with `.env` files.

    Raises:
        NotFoundError: a project has no environment of that name; it lists those that exist.
        ManifestError: the environment names a service that no manifest declares.
    """
    found = []
    for target in chosen:
        if name is None:
            mine = Environment()
        elif target.project is None:
            raise environment_names.unknown(name, (), None)
        else:
            mine = target.project.environment(name)
            _require_services(target.project, mine)
        mine = replace(mine, env_files=(*mine.env_files, *env_files))
        found.append(replace(target, environment=mine))
    return found


def _require_services(project: Project, mine: Environment) -> None:
    """Refuse changes of services that no manifest of the project declares."""
    lost = [
        unknown_key((ENV, mine.name, "services", name), sorted(project.services))
        for name in mine.services
        if name not in project.services
    ]
    if lost:
        raise ManifestError(project.located(lost))


def check(
    chosen: Iterable[Target], *, environ: Mapping[str, str] | None = None
) -> tuple[list[Target], list[str]]:
    """Return the targets with valid manifests, and the problems of all the others.

    With `environ`, the variables in their `runtime.env` are filled in from it.
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


class _Anything(dict[str, str]):
    """An environment with every variable set, to find the faults that any environment has."""

    def get(self, name: str, default: Any = None) -> Any:
        return "set"


def _folders(folder: Path) -> list[Path]:
    """Return the subfolders of a folder that may contain the user's code."""
    try:
        found = [each for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []  # no permission to read it
    return sorted(each for each in found if not each.name.startswith((".", "__")))


def _named(arg: str, project: Project | None) -> list[Target]:
    path = Path(arg)
    if (path / FILE).is_file():
        return load(path / FILE).targets()
    manifest = _existing(path / MANIFEST if path.is_dir() else path)
    return [Target(manifest, project or find(manifest.parent))]


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    raise NotFoundError(f"there is no manifest {path}", hint="`koco init` makes a project")


def _distinct(found: Iterable[Target]) -> list[Target]:
    return list({target.manifest_path: target for target in found}.values())
