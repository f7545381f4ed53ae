"""A problem in a file that somebody wrote: where, what, and how to mend it.

Stdlib only: `koco.project` uses it in commands that must start fast.
"""

from collections.abc import Iterable
from dataclasses import dataclass

#: Where in the data something stands: keys and list indices from the root.
KeyPath = tuple[str | int, ...]

#: A line and a column of a file, both from 1.
Place = tuple[int, int]


class Wrong(ValueError):  # noqa: N818 - it says what is wrong with one value, and is always caught
    """What is wrong with one value, and how to mend it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place of the data; `on_key` if with the key, not its value.

    `place` is the line and column, where the path does not say enough.
    """

    path: KeyPath
    message: str
    hint: str | None = None
    on_key: bool = False
    place: Place | None = None

    def __str__(self) -> str:
        where = f"{dotted(self.path)}: " if self.path else ""
        return where + self.message + (f" (hint: {self.hint})" if self.hint else "")


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: `flows[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be."""
    import difflib

    choices = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(choices), n=1, cutoff=0.6)
    return choices[close[0]] if close else None


def unknown_key(path: KeyPath, known: Iterable[str]) -> Problem:
    """Return the problem of a key that does not exist, naming the nearest that does."""
    names = list(known)
    near = nearest(str(path[-1]), names)
    hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(names)}"
    if path[-1] == "<<":
        hint = "merge keys are not supported: write the keys out"
    return Problem(path, "unknown key", hint, on_key=True)


def kind_of(value: object) -> str:
    """Return what a value is, in the words of YAML and TOML rather than Python's."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {_short(value)}"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def expected(wanted: str, value: object) -> Wrong:
    """Return what is wrong with a value of another type than the wanted."""
    return Wrong(f"expected {wanted}, got {kind_of(value)}", _retype_hint(wanted, value))


def _retype_hint(wanted: str, value: object) -> str | None:
    if value is None:
        return "give it a value or leave the key out"
    if wanted == "text" and isinstance(value, bool | int | float):
        return "put it in quotes"  # as it was written: 1.10 is the number 1.1 by now
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


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
