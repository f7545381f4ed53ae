"""Finds the applications that deployment files declare.

These files are known:

- a configuration of Ray Serve with `applications`
- Kodosumi's base configuration, which has no applications: they are the files beside it
- one application on its own, with `import_path` at the top, as Kodosumi keeps them
- an export of Kodosumi 1.2, a JSON document with `exposes`
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koco.errors import ManifestError, NotFoundError, UsageError
from koco.manifest import load
from koco.manifest.problems import KeyPath, Problem, wrong_type
from koco.manifest.yaml_document import MAX_CHARS, Document
from koco.project.conversion import code

#: The keys of a configuration of Ray Serve that are not about one application.
GLOBAL = frozenset(
    {
        *("proxy_location", "http_options", "grpc_options", "controller_options"),
        *("logging_config", "tracing_config", "target_capacity", "host", "port"),
    }
)

#: The endings of deployment files.
_ENDINGS = (".yaml", ".yml", ".json")

#: The folder below a project in which Kodosumi keeps its files.
_USUAL = ("data/config", "data")

#: The names of files that say nothing about their application.
_PLAIN = ("config", "serve", "serve_config", "deploy", "deployment")

#: How many levels of subfolders may have deployment files.
_DEEPEST = 3

#: The most files of a folder that are read.
_MOST_FILES = 500


@dataclass(frozen=True)
class Application:
    """One application of a file, as plain data."""

    data: dict[str, Any]
    document: Document
    path: KeyPath
    file: Path
    #: Its name if the data has none.
    default_name: str
    description: str = ""
    #: Whether only Kodosumi has files of this form.
    is_kodosumis: bool = False

    @property
    def environment(self) -> dict[str, Any]:
        """Its `runtime_env`; empty if it has none."""
        environment = self.data.get("runtime_env")
        if environment is not None and not isinstance(environment, dict):
            raise self.wrong(("runtime_env",), "a mapping")
        return environment or {}

    def error(self, key: KeyPath, message: str, hint: str | None = None) -> ManifestError:
        """Return an error about one of its keys, with the file, line and column."""
        return self.document.error([Problem((*self.path, *key), message, hint)])

    def wrong(self, key: KeyPath, wanted: str) -> ManifestError:
        """Return an error about a value of another type."""
        value: Any = self.data
        for part in key:
            value = value[part]
        error = wrong_type(wanted, value)
        return self.error(key, str(error), error.hint)


@dataclass
class Sources:
    """The applications of all files, and the rest of the files."""

    applications: list[Application] = field(default_factory=list)
    #: All deployment files that were read.
    files: list[Path] = field(default_factory=list)
    #: The keys that configure Serve as a whole, with the file that has them.
    global_keys: dict[str, Path] = field(default_factory=dict)
    #: Files of the folder that are something else.
    skipped: list[Path] = field(default_factory=list)
    #: Why files of the folder could not be read.
    problems: list[str] = field(default_factory=list)


def read(path: Path) -> Sources:
    """Return the applications of a file, or of the files of a folder.

    Raises:
        NotFoundError: there is no such path.
        ManifestError: a file is not YAML, or a value in it has the wrong type. In a folder, a file
            that cannot be read is an error only if no other file declares an application.
        UsageError: no file declares an application.
    """
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or folder")
    found = Sources()
    if path.is_dir():
        _read_folder(path, found)
    else:
        _read_file(path, found, is_asked=True)
    if not found.applications:
        if found.problems:
            raise ManifestError(list(dict.fromkeys(found.problems)))
        raise UsageError(
            f"{path}: no application is declared here",
            hint="expected `import_path`, or a list of `applications`; for a function, name it: "
            "`--from module:function`",
        )
    return found


def _read_folder(folder: Path, found: Sources) -> None:
    files = _files(folder)
    if not any(_declares(file, found) for file in files):
        below = [file for name in _USUAL for file in _files(folder / name)]
        # Or each service's folder has its own file.
        files = below or [file for file in _below(folder) if _declares(file, found)]
    for file in files:
        _read_file(file, found)


def _below(folder: Path) -> list[Path]:
    """Return the files in a folder's subfolders, down to `_DEEPEST` levels."""
    found: list[Path] = []
    level = [folder]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in code.folders_in(each)]
        found += [file for each in level for file in _files(each)]
        if len(found) > _MOST_FILES:
            raise _too_many(folder)
    return found


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [each for each in folder.iterdir() if each.suffix in _ENDINGS and not each.is_dir()]
    if len(files) > _MOST_FILES:
        raise _too_many(folder)
    return sorted(files)


def _too_many(folder: Path) -> UsageError:
    return UsageError(f"{folder} has more than {_MOST_FILES} files", hint="name one of them")


def _declares(file: Path, found: Sources) -> bool:
    try:
        data = _load(file).data
    except ManifestError as exc:
        found.problems += exc.problems
        return False
    return isinstance(data, dict) and _kind(data) is not None


def _load(file: Path) -> Document:
    # Kodosumi and Ray Serve read YAML 1.1, whose merge keys share environments.
    return load.read(file, merges=True)


def _kind(data: dict[str, Any]) -> Callable[[dict[str, Any], Document, Path, Sources], None] | None:
    """Return the function that reads a file of this form, or None if it declares nothing."""
    if "applications" in data:
        return _read_config
    if "import_path" in data:
        return _read_application
    if "exposes" in data:
        return _read_export
    return _read_base if data and not data.keys() - GLOBAL else None


def _read_file(file: Path, found: Sources, *, is_asked: bool = False) -> None:
    """Add a file's applications. If nobody asked for it by name, it may be anything else."""
    if file in found.files:
        return
    try:
        document = _load(file)
    except ManifestError as exc:
        if is_asked or _names_an_application(file):
            raise
        found.problems += exc.problems
        found.skipped.append(file)
        return
    data = document.data
    read_kind = _kind(data) if isinstance(data, dict) else None
    if read_kind is None:
        if is_asked:
            raise _unknown(document)
        found.skipped.append(file)
        return
    if document.problems:
        raise document.error([])
    found.files.append(file)
    read_kind(data, document, file, found)
    if is_asked and not found.applications:
        # Kodosumi's base configuration: its applications are the files beside it.
        for sibling in _files(file.parent):
            _read_file(sibling, found)


def _names_an_application(file: Path) -> bool:
    """Return whether a file that is not YAML looks as if it should declare an application."""
    try:
        if not file.is_file():  # a pipe would wait
            return False
        with file.open("rb") as opened:
            return b"import_path" in opened.read(MAX_CHARS)
    except OSError:
        return False


def _unknown(document: Document) -> ManifestError:
    if not isinstance(document.data, dict):
        error = wrong_type("a mapping of keys such as `import_path`", document.data)
        return document.error([Problem((), str(error), error.hint)])
    if "service" in document.data:
        message = "this is a manifest of koco's already"
        return document.error([Problem(("service",), message, "`koco validate` checks it")])
    message = "this is neither a configuration of Ray Serve nor an application of Kodosumi's"
    hint = "expected `import_path`, or a list of `applications`"
    return document.error([Problem((), message, hint)])


def _read_base(data: dict[str, Any], document: Document, file: Path, found: Sources) -> None:
    for key in (each for each in data if each in GLOBAL):
        found.global_keys.setdefault(key, file)


def _read_application(data: dict[str, Any], document: Document, file: Path, found: Sources) -> None:
    found.applications.append(
        Application(data, document, (), file, default_name=_name(file), is_kodosumis=True)
    )


def _name(file: Path) -> str:
    """Return the name of a file's application: the file's own, or the folder's."""
    folder = file.absolute().parent.name
    return folder if file.stem in _PLAIN and folder else file.stem


def _read_config(data: dict[str, Any], document: Document, file: Path, found: Sources) -> None:
    _read_base(data, document, file, found)
    items = data["applications"]
    if items is None:
        return
    if not isinstance(items, list):
        error = wrong_type("a list of applications", items)
        raise document.error([Problem(("applications",), str(error), error.hint)])
    for index, item in enumerate(items):
        path: KeyPath = ("applications", index)
        if not isinstance(item, dict):
            error = wrong_type("a mapping with `import_path`", item)
            raise document.error([Problem(path, str(error), error.hint)])
        name = _name(file) if len(items) == 1 else f"{_name(file)}-{index + 1}"
        found.applications.append(Application(item, document, path, file, default_name=name))


def _read_export(data: dict[str, Any], document: Document, file: Path, found: Sources) -> None:
    items = data["exposes"]
    if not isinstance(items, list):
        error = wrong_type("a list of exposes", items)
        raise document.error([Problem(("exposes",), str(error), error.hint)])
    for index, item in enumerate(items):
        path: KeyPath = ("exposes", index)
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise document.error([Problem(path, "expected an expose with a `name`")])
        text = item.get("bootstrap")
        if not isinstance(text, str) or not text.strip():
            continue  # a draft that Kodosumi would not deploy either
        inner = Document(text, f"{load.display_path(file)} (bootstrap of {name})", merges=True)
        if inner.problems:
            raise inner.error([])
        if not isinstance(inner.data, dict) or "import_path" not in inner.data:
            raise inner.error([Problem((), "key 'import_path' is missing")])
        # Kodosumi deploys it under the name of the expose, whatever the text says.
        inner_data = {**inner.data, "name": name}
        shown = item.get("display")
        found.applications.append(
            Application(
                inner_data,
                inner,
                (),
                file,
                default_name=name,
                description=shown if isinstance(shown, str) else "",
                is_kodosumis=True,
            )
        )
