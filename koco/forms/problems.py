"""What is wrong with a form, and how that is said."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

#: No word that was misspelt is longer (characters); comparing ever longer ones takes ever longer.
_LONGEST = 100


class Problem(NamedTuple):
    """One fault: in which element of the list, in which of its properties, and what.

    `index` is None where the element stands alone, `property` where the fault
    is the element's as a whole.
    """

    index: int | None  # type: ignore[assignment]  # the word hides a method nobody needs
    property: str | None
    message: str

    def __str__(self) -> str:
        where = [] if self.index is None else [f"element {self.index + 1}"]
        if self.property is not None:
            where.append(self.property)
        return f"{', '.join(where)}: {self.message}" if where else self.message


class FormError(ValueError):
    """A form, or an element of one, that makes no sense; `problems` has all that is wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be, if there is one."""
    if len(word) > _LONGEST:
        return None
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return the end of a message that refuses `word`: the nearest known one, or all."""
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"{otherwise}: {', '.join(names)}" if names else "there are none"
