"""Shows the result of `koco init --from`: the files, the losses, and the next steps."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from koco.cli.scaffold import next_steps
from koco.cli.terminal import output
from koco.errors import KocoError
from koco.manifest.load import display_path
from koco.project import project
from koco.project.config_file import FILE
from koco.project.conversion.conversion import Conversion, Service
from koco.project.conversion.draft import Note


class _Note(TypedDict):
    key: str
    message: str


class _Service(TypedDict):
    service: str
    manifest: str
    secrets: list[str]
    notes: list[_Note]


def print_report(
    directory: Path, source: Path, made: Conversion, written: Iterable[Path], *, as_json: bool
) -> None:
    """Print the manifests on stdout, and on stderr everything that the user must know or do."""
    files = sorted(map(str, written))
    problems = _problems(directory)
    if as_json:
        output.print_json(
            {
                "path": str(directory.resolve()),
                "from": str(source),
                "services": [_service(each) for each in made.services],
                "notes": _notes(made.notes),
                "problems": problems,
                "files": files,
            }
        )
        return
    for service in made.services:
        output.print_line(f"{directory / service.manifest}  {service.name}")
    output.note(f"created {', '.join(files)} from {source}")
    _print_notes(made)
    for problem in problems:
        output.note(f"problem: {problem}")
    _print_steps(directory, made)


def _print_notes(made: Conversion) -> None:
    for path in made.skipped:
        output.note(f"note: {path} is no deployment file, so it is left out")
    for note in made.notes:
        output.note(f"note: {note}")
    for service in made.services:
        for note in service.notes:
            if note.is_todo:
                output.note(f"note: {service.name}: {note}")


def _print_steps(directory: Path, made: Conversion) -> None:
    secrets = {name: None for service in made.services for name in service.secrets}
    # The values stay in the user's own file.
    commands = [f"koco secret set {name}" for name in secrets]
    flow = next((service.flow for service in made.services if service.flow), None)
    next_steps.show(directory, ["koco validate", "koco up", *commands, "koco deploy"], run=flow)


def _problems(directory: Path) -> list[str]:
    """Return the problems that `koco validate` will report."""
    found: list[str] = []
    for target in project.load(directory / FILE).targets():
        try:
            found += project.check([target])[1]
        except KocoError as exc:  # for example, `root` is yet to be made
            found.append(f"{display_path(target.manifest_path)}: {exc.message}")
    return found


def _service(service: Service) -> _Service:
    return {
        "service": service.name,
        "manifest": service.manifest.as_posix(),
        "secrets": list(service.secrets),
        "notes": _notes(service.notes),
    }


def _notes(notes: "list[Note] | tuple[Note, ...]") -> list[_Note]:
    return [{"key": note.key, "message": note.message} for note in notes]
