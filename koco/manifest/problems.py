"""Problems in a user's file: the place, the message and a hint.

Standard library only, because `koco.project.project` uses it in commands that must start fast.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from koco.spelling import nearest

#: A path in the data: keys and list indices from the root.
KeyPath = tuple[str | int, ...]

#: A line and a column of a file, both from 1.
Place = tuple[int, int]


class InvalidValueError(ValueError):
    """A value of a file is wrong. The message says why, the hint how to fix it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def at(self, path: KeyPath, *, on_key: bool = False) -> "Problem":
        """Return the problem of the value, or of the key, at a path."""
        return Problem(path, str(self), self.hint, on_key)


@dataclass(frozen=True)
class Problem:
    """A problem at a path of the data. `on_key` means that the key is wrong, not its value.

    `place` is the line and column, if the path is not precise enough.
    """

    path: KeyPath
    message: str
    hint: str | None = None
    on_key: bool = False
    place: Place | None = None

    def __str__(self) -> str:
        where = f"{format_path(self.path)}: " if self.path else ""
        return where + self.message + (f" (hint: {self.hint})" if self.hint else "")


def format_path(path: KeyPath) -> str:
    """Return a key path as text: `flows[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def unknown_key(path: KeyPath, known: Iterable[str]) -> Problem:
    """Return the problem of an unknown key, with the nearest known key or all of them."""
    names = list(known)
    near = nearest(str(path[-1]), names)
    hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(names)}"
    if path[-1] == "<<":
        hint = "merge keys are not supported: write the keys out"
    return Problem(path, "unknown key", hint, on_key=True)


def describe(value: object) -> str:
    """Return a value's kind for a message, in the words of YAML and TOML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:39] + '…'!r}"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def wrong_type(wanted: str, value: object) -> InvalidValueError:
    """Return the error about a value that does not have the wanted type."""
    message = f"expected {wanted}, got {describe(value)}"
    return InvalidValueError(message, _retype_hint(wanted, value))


def _retype_hint(wanted: str, value: object) -> str | None:
    if value is None:
        return "give it a value or leave the key out"
    if wanted == "text" and isinstance(value, bool | int | float):
        return "put it in quotes"  # without the text, because 1.10 has become the number 1.1
    if wanted.startswith("a list") and isinstance(value, str):
        return f"write it as [{value}]" if "\n" not in value and len(value) < 40 else None
    if not isinstance(value, str):
        return None
    if wanted == "true or false" and value.casefold() in _YES | _NO:
        return f"write {'true' if value.casefold() in _YES else 'false'}"
    if "number" in wanted and value.strip().lstrip("-").replace(".", "", 1).isdigit():
        return f"without quotes: {value.strip()}"
    return None


_YES = {"yes", "on", "y", "true"}
_NO = {"no", "off", "n", "false"}
