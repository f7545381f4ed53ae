"""`koco init`: create a project from a template, or from deployment files.

A template is a folder: `template.toml` describes it, and everything else is copied, with
`__name__` (the service's name) and `__package__` replaced in contents and paths.
"""

import keyword
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from koco.cli.terminal import output
from koco.errors import ConflictError, NotFoundError, UsageError
from koco.manifest.rules import slug
from koco.plurals import counted
from koco.spelling import nearest

#: The file that describes a template; it is not copied.
_ABOUT = "template.toml"

#: Names that the user's package must not have, because one would hide the other.
_TAKEN = frozenset({*sys.stdlib_module_names, "koco", "ray", "tests"})


def command(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The project's folder; created if needed.")
    ] = Path(),
    template: Annotated[
        str | None,
        typer.Option(
            "--template", "-t", metavar="NAME", help="The template to use [default: hello]."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The service's name [default: the name of DIR]."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Convert a deployment file of Kodosumi or Ray Serve, or a folder of them.",
        ),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create a project: a manifest, code, a test and a README.

    The test runs without Ray. With --from, the project in DIR stays as it is and gets manifests
    and a koco.toml. Existing files are never overwritten: if one is in the way, nothing is written.

    Example: koco init hello --template hello
    """
    if as_list:
        _list(as_json=as_json)
        return
    if source is not None:
        if template is not None:
            raise UsageError("--from and --template exclude each other", hint="leave one out")
        _convert(source, directory, name, as_json=as_json)
        return
    chosen = _find_template(template or "hello")
    names = Names.of(name or directory.resolve().name)
    files = _render(chosen.folder, names)
    _refuse_overwrite(directory, files)
    _write(directory, files)
    _print_result(directory, chosen, names, sorted(map(str, files)), as_json=as_json)


def _convert(source: Path, directory: Path, name: str | None, *, as_json: bool) -> None:
    # Only now, because it imports the model of manifests and the reader of YAML.
    from koco.cli.conversion_report import print_report
    from koco.project.conversion import conversion

    made = conversion.convert(source, directory, name=name)
    _refuse_overwrite(directory, made.files)
    _write(directory, made.files)
    print_report(directory, source, made, as_json=as_json)


@dataclass(frozen=True)
class Template:
    """A template, its description, and the name of its flow."""

    name: str
    description: str
    flow: str
    folder: Path


@dataclass(frozen=True)
class Names:
    """The names of a new service and of its package."""

    service: str
    package: str

    @classmethod
    def of(cls, text: str) -> "Names":
        """Return names derived from a folder's name, or from the requested one."""
        service = slug(text)
        if not service:
            raise UsageError(
                f"{text!r} cannot be made a service's name", hint="--name gives it another name"
            )
        package = service.replace("-", "_")
        is_free = package not in _TAKEN and not keyword.iskeyword(package)
        return cls(service, package if is_free else f"{package}_flows")

    def fill(self, text: str) -> str:
        """Return a text with its placeholders replaced."""
        return text.replace("__name__", self.service).replace("__package__", self.package)


def templates() -> list[Template]:
    """Return all templates, by name."""
    # In a wheel they are inside the package, in the source tree next to it.
    package = Path(__file__).parents[2]
    places = (package / "_templates", package.parent / "templates")
    root = next((place for place in places if place.is_dir()), places[0])
    found = []
    for about in sorted(root.glob(f"*/{_ABOUT}")):
        facts = tomllib.loads(about.read_text("utf-8"))
        found.append(Template(about.parent.name, facts["description"], facts["flow"], about.parent))
    return found


def _find_template(name: str) -> Template:
    known = {template.name: template for template in templates()}
    if name in known:
        return known[name]
    near = nearest(name, known)
    raise NotFoundError(
        f"there is no template {name!r}",
        hint=f"did you mean {near!r}?" if near else "`koco init --list` lists them",
    )


def _list(*, as_json: bool) -> None:
    known = [(template.name, template.description) for template in templates()]
    if as_json:
        items = [{"name": name, "description": about} for name, about in known]
        output.print_items(items)
    else:
        output.print_table(("TEMPLATE", "DESCRIPTION"), known, widest="DESCRIPTION")


def _render(folder: Path, names: Names) -> dict[Path, str]:
    """Return a template's files, by their path in the project."""
    files = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and inner.name != _ABOUT and "__pycache__" not in inner.parts:
            files[Path(names.fill(inner.as_posix()))] = names.fill(path.read_text("utf-8"))
    return files


def _refuse_overwrite(directory: Path, files: dict[Path, str]) -> None:
    """Raise `ConflictError` if something exists where a file or folder is to be written."""
    hint = "choose another folder, or move these away"
    above = (directory, *directory.absolute().parents)
    if any(os.path.lexists(path) and not path.is_dir() for path in above):
        raise ConflictError(f"{directory} is not a folder", hint=hint)
    folders = {directory / parent for path in files for parent in path.parents} - {directory}
    ways = [path for path in folders if os.path.lexists(path) and not path.is_dir()]
    # Broken links count too, because writing would create their targets.
    ways += [directory / path for path in files if os.path.lexists(directory / path)]
    if ways:
        listed = ", ".join(sorted(path.relative_to(directory).as_posix() for path in ways))
        raise ConflictError(f"these already exist in {directory}: {listed}", hint=hint)


def _write(directory: Path, files: dict[Path, str]) -> None:
    try:
        for path, text in files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            # Mode "x", so that a file that was created meanwhile is not overwritten either.
            with target.open("x", encoding="utf-8", newline="\n") as out:
                out.write(text)
    except OSError as exc:
        raise UsageError(f"{exc.filename} cannot be written: {exc.strerror}") from exc


def _print_result(
    directory: Path, chosen: Template, names: Names, files: list[str], *, as_json: bool
) -> None:
    if as_json:
        facts: dict[str, Any] = {"path": str(directory.resolve()), "template": chosen.name}
        output.print_json({**facts, "service": names.service, "files": files})
        return
    output.print_line(str(directory))
    output.note(f"created {counted(len(files), 'file')} from the template {chosen.name!r}; next:")
    steps = ["koco up", "koco deploy", f"koco run {chosen.flow} -f"]
    if directory.resolve() != Path.cwd():
        steps.insert(0, f"cd {directory}")
    for step in steps:
        output.note(f"  {step}")
