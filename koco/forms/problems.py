"""The problems of a form's definition, and suggestions for misspelt words."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

#: The longest word to look for a similar one (characters), because comparing long words is slow.
_LONGEST = 100


class Problem(NamedTuple):
    """A problem of an element in a form: the element's index, the property and a message.

    `index` is None if the element is not in a list, `property` if the problem is
    about the element as a whole.
    """

    index: int | None  # type: ignore[assignment]  # hides the tuple's method, which nothing uses
    property: str | None
    message: str

    def __str__(self) -> str:
        where = [] if self.index is None else [f"element {self.index + 1}"]
        if self.property is not None:
            where.append(self.property)
        return f"{', '.join(where)}: {self.message}" if where else self.message


class FormError(ValueError):
    """A form or an element is invalid. `problems` lists everything that is wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is similar to a misspelt one, if there is one."""
    if len(word) > _LONGEST:
        return None
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return the end of a message about an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"{otherwise}: {', '.join(names)}" if names else "there are none"
