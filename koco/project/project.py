"""A project: the folder with `koco.toml`, and the manifests that it names.

Imports only the stdlib at the top, so commands that only need their location start fast.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.errors import ManifestError, NotFoundError
from koco.manifest.problems import InvalidValueError, KeyPath, Problem
from koco.project.config_file import FILE, MANIFEST, read

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

    @property
    def root(self) -> Path:
        """The folder whose files are shipped: the manifest's own, or its `root`."""
        return (self.manifest_path.parent / self.manifest.root).resolve()

    @cached_property
    def manifest(self) -> "Manifest":
        """The manifest; raises `ManifestError` with all its problems."""
        from koco.manifest.load import from_document

        manifest = from_document(self._document)
        env = self._filled(manifest.runtime.env)
        runtime = manifest.runtime.model_copy(update={"env": env})
        return manifest.model_copy(update={"runtime": runtime})

    def _filled(self, env: dict[str, str]) -> dict[str, str]:
        from koco.manifest import variables

        environ = _Anything() if self.environ is None else self.environ
        filled, problems = {}, []
        for name, value in env.items():
            try:
                filled[name] = variables.expand(value, environ)
            except InvalidValueError as exc:
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
        """The files that configure the deploy. They are never shipped, and do not count as code.

        They are the manifest, and all manifests of the project that its folder belongs to.
        """
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

    @cached_property
    def declarations(self) -> frozenset[Path]:
        """Its manifests as resolved paths, because a path may contain links."""
        return frozenset(path.resolve() for path in self.manifests)

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
