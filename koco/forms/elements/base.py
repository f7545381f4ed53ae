"""Elements as data, and the elements without a value: content and buttons.

Each property has a reader (see `readers`) in its dataclass field. So an element
made in Python and one from a manifest go through the same checks. A class without properties of
its own is no dataclass by itself: each costs a millisecond at import.
"""

import copy
import dataclasses
import datetime as dt
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Self

from koco.forms import readers
from koco.forms.problems import FormError, Problem, suggestion


def read_with(read: readers.Reader) -> dict[str, readers.Reader]:
    """Return the field metadata that makes `read` a property's reader."""
    return {"read": read}


def to_json(value: Any) -> Any:
    """Return a property's value as JSON. Times lose their seconds if those are 0."""
    if isinstance(value, dt.datetime | dt.time):
        text = value.isoformat()
        return text[:-3] if text.endswith(":00") and text.count(":") == 2 else text
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Part):
        return value.to_dict()
    # A copy, so that a caller who changes the result does not change the element.
    return [to_json(each) for each in value] if isinstance(value, tuple) else copy.deepcopy(value)


@dataclass(frozen=True)
class Part:
    """Data with checked properties: an element, or an option of a `Select`."""

    #: The value of `type` in the data; empty for parts that are not elements.
    type: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Read every property; raise `FormError` with all problems."""
        problems = [*self._read_properties(), *self._find_problems()]
        if problems:
            raise FormError(problems)

    def _read_properties(self) -> Iterator[Problem]:
        for prop in dataclasses.fields(self):
            raw = getattr(self, prop.name)
            if raw is None and prop.default is None:
                continue
            try:
                self._set(prop.name, prop.metadata["read"](raw))
            except ValueError as exc:
                # Reset it, so that checks of several properties only see valid values.
                self._set(prop.name, None if prop.default is MISSING else prop.default)
                yield Problem(None, prop.name, str(exc))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _find_problems(self) -> Iterator[Problem]:
        """Yield the problems of several properties together."""
        yield from ()

    def to_dict(self) -> dict[str, Any]:
        """Return `type` and the properties that are set, as JSON."""
        found = {"type": self.type} if self.type else {}
        for prop in dataclasses.fields(self):
            value = getattr(self, prop.name)
            if prop.default is MISSING or value != prop.default:
                found[prop.name] = to_json(value)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[Any, Any]) -> Self:
        """Return the part that `data` (without `type`) describes.

        Raises:
            FormError: with all problems.
        """
        known = {prop.name: prop for prop in dataclasses.fields(cls)}
        problems = []
        for key in (str(each) for each in data if each not in known):
            near = suggestion(key, known, otherwise="the properties are")
            problems.append(Problem(None, key, f"is not a property of it; {near}"))
        found = {key: data[key] for key in known if key in data}
        for name, prop in known.items():
            if prop.default is MISSING and found.get(name) is None:
                problems.append(Problem(None, name, "is missing"))
                # Fill in a placeholder, so that this pass checks the other properties, too.
                found[name] = [{"name": "-"}] if name == "option" else "-"
        try:
            part = cls(**found)
        except FormError as exc:
            raise FormError([*problems, *exc.problems]) from None
        if problems:
            raise FormError(problems)
        return part


class Element(Part):
    """A part of a form."""


@dataclass(frozen=True)
class Markdown(Element):
    """Text in Markdown. Indentation that all lines share is removed."""

    type: ClassVar[str] = "markdown"
    text: str = field(metadata=read_with(readers.text))

    def __post_init__(self) -> None:
        """Remove the indentation that a literal in code has."""
        super().__post_init__()
        self._set("text", textwrap.dedent(self.text))


@dataclass(frozen=True)
class HTML(Element):
    """A piece of HTML."""

    type: ClassVar[str] = "html"
    text: str = field(metadata=read_with(readers.text))


@dataclass(frozen=True)
class DisplayInfo(Element):
    """Information that is only shown."""

    type: ClassVar[str] = "none"
    text: str = field(metadata=read_with(readers.text))
    label: str | None = field(default=None, metadata=read_with(readers.text))


class Break(Element):
    """Vertical space."""

    type: ClassVar[str] = "break"


class HR(Element):
    """A horizontal rule."""

    type: ClassVar[str] = "hr"


class Errors(Element):
    """The place for messages that are not about one field."""

    type: ClassVar[str] = "errors"


@dataclass(frozen=True)
class Submit(Element):
    """The button that sends the form."""

    type: ClassVar[str] = "submit"
    text: str = field(default="Submit", metadata=read_with(readers.text))


@dataclass(frozen=True)
class Cancel(Element):
    """The button that leaves the form."""

    type: ClassVar[str] = "cancel"
    text: str = field(default="Cancel", metadata=read_with(readers.text))


@dataclass(frozen=True)
class Action(Element):
    """A button that sends the form with `value` under `name`. Several may share a name."""

    type: ClassVar[str] = "action"
    name: str = field(metadata=read_with(readers.name))
    value: str = field(metadata=read_with(readers.text))
    text: str | None = field(default=None, metadata=read_with(readers.text))
