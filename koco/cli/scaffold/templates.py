"""Templates: folders that `template.toml` describes, koco's own and the user's."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from koco.errors import NotFoundError, UsageError
from koco.spelling import nearest

#: The file that describes a template; it is not copied.
ABOUT = "template.toml"

#: The template that is used if nobody chooses one.
DEFAULT = "hello"

#: The order in which koco's own templates are listed: the simplest first.
_ORDER = (DEFAULT, "parallel", "files", "endpoint", "durable", "agent")


@dataclass(frozen=True)
class Template:
    """A template: its name, its folder, its description, and what to run first."""

    name: str
    folder: Path
    description: str = ""
    #: What comes after `koco run`: a flow, and the inputs that it must have.
    run: str | None = None


def bundled() -> list[Template]:
    """Return koco's own templates, the simplest first."""
    # In a wheel they are inside the package, in the source tree next to it.
    package = Path(__file__).parents[2]
    places = (package / "_templates", package.parent / "templates")
    root = next((place for place in places if place.is_dir()), places[0])
    found = [_read(about.parent, about.parent.name) for about in root.glob(f"*/{ABOUT}")]
    return sorted(found, key=_position)


def _position(template: Template) -> tuple[int, str]:
    known = template.name in _ORDER
    return (_ORDER.index(template.name) if known else len(_ORDER), template.name)


def find(named: str) -> Template:
    """Return the template of that name, or the one in that folder.

    Raises:
        NotFoundError: there is no such template or folder.
        UsageError: its description is invalid.
    """
    known = {template.name: template for template in bundled()}
    if named in known:
        return known[named]
    folder = Path(named).expanduser()
    if folder.is_dir():
        return _read(folder, folder.resolve().name)
    if folder.exists():
        raise UsageError(f"{named} is a file", hint="name the folder that is the template")
    if os.sep in named:
        raise NotFoundError(f"{named}: there is no such folder")
    near = nearest(named, known)
    hint = f"did you mean {near!r}?" if near else "`koco init --list` lists them"
    raise NotFoundError(f"there is no template {named!r}", hint=hint)


def _read(folder: Path, name: str) -> Template:
    about = folder / ABOUT
    try:
        facts = tomllib.loads(about.read_text("utf-8-sig"))
    except FileNotFoundError:
        return Template(name, folder)
    except OSError as exc:
        raise UsageError(f"{about} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise UsageError(f"{about}: {exc}", hint='write it as in `description = "…"`') from exc
    for key, value in facts.items():
        if key not in ("description", "run"):
            raise UsageError(f"{about}: unknown key {key!r}", hint="it has `description` and `run`")
        if not isinstance(value, str):
            raise UsageError(f"{about}: {key} must be text, got {value!r}", hint="put it in quotes")
    return Template(name, folder, facts.get("description", ""), facts.get("run"))
