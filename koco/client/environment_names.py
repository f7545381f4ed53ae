"""The error about an environment that a project does not have."""

from collections.abc import Iterable
from pathlib import Path

from koco.errors import NotFoundError
from koco.spelling import nearest


def unknown(name: str, known: Iterable[str], where: Path | None) -> NotFoundError:
    """Return the error about an environment that does not exist; it lists those that do."""
    names = list(known)
    if where is None:
        hint = "`[env.NAME]` in a koco.toml makes one; this is no folder of a project"
    elif not names:
        hint = f"{where} has none; `[env.{name}]` there makes it"
    else:
        near = nearest(name, names)
        hint = f"did you mean {near!r}? " * bool(near) + f"{where} has: {', '.join(names)}"
    return NotFoundError(f"there is no environment {name!r}", hint=hint)
