"""The problems of a form's definition, and suggestions for unknown words."""

from collections.abc import Iterable
from typing import NamedTuple

from koco.spelling import nearest


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


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return the end of a message about an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"{otherwise}: {', '.join(names)}" if names else "there are none"
