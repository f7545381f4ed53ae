"""The form: its elements in order, as data, and the validation of inputs."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from koco.errors import GLOBAL_FIELD, InputsError
from koco.forms import patterns, readers
from koco.forms.elements.base import Action, Element
from koco.forms.elements.fields import Field, InputPassword
from koco.forms.elements.types import read_element
from koco.forms.off_loop import is_small, run_check
from koco.forms.problems import FormError, Problem, suggestion
from koco.plurals import plural, verbal

#: How many unknown fields an error names, and how much of each name (characters).
_LISTED, _LISTED_LENGTH = 20, 100


@dataclass(frozen=True, init=False)
class Model:
    """A form: `Model(InputText(name="topic"), Submit("Go"))`.

    Raises `FormError` if two elements have the same name.
    """

    elements: tuple[Element, ...]

    def __init__(self, *elements: Element) -> None:
        object.__setattr__(self, "elements", elements)
        problems = [
            Problem(index, None, f"must be a form element, got {readers.kind(each)}")
            for index, each in enumerate(elements)
            if not isinstance(each, Element)
        ]
        named = (
            (at, getattr(each, "name", None), isinstance(each, Action))
            for at, each in enumerate(elements)
        )
        matched = ((getattr(each, "pattern", None), None) for each in elements)
        if problems := [*problems, *_find_duplicates(named), *_find_costly(matched)]:
            raise FormError(problems)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The elements that carry a value, without the `Action` buttons."""
        return tuple(each for each in self.elements if isinstance(each, Field))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of `fields`, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The names of the fields whose values are never shown: passwords."""
        return tuple(field.name for field in self.fields if isinstance(field, InputPassword))

    @property
    def actions(self) -> dict[str, list[str]]:
        """The values that `Action` buttons send, by name."""
        found: dict[str, list[str]] = {}
        for each in self.elements:
            if isinstance(each, Action):
                found.setdefault(each.name, []).append(each.value)
        return found

    def to_list(self) -> list[dict[str, Any]]:
        """Return the elements as JSON: the `type` and the properties that are set."""
        return [element.to_dict() for element in self.elements]

    @classmethod
    def from_list(cls, data: object) -> "Model":
        """Return the form that `to_list` or a manifest describes.

        Raises `FormError` (a `ValueError`) with all problems.
        """
        if not isinstance(data, list | tuple):
            message = f"a form must be a list of elements, got {readers.kind(data)}"
            raise FormError([Problem(None, None, message)])
        # Check the cost first, because building an element matches its default with its pattern.
        maps = (each if isinstance(each, Mapping) else {} for each in data)
        if problems := [*_find_costly((each.get("pattern"), each.get("value")) for each in maps)]:
            raise FormError(problems)
        elements: list[Element] = []
        for index, each in enumerate(data):
            try:
                elements.append(read_element(each))
            except FormError as exc:
                problems += [problem._replace(index=index) for problem in exc.problems]
        named = (
            (at, each.get("name"), each.get("type") == Action.type)
            for at, each in enumerate(data)
            if isinstance(each, Mapping)
        )
        problems = sorted([*problems, *_find_duplicates(named)], key=lambda one: one.index or 0)
        if problems:
            raise FormError(problems)
        return cls(*elements)

    def validate(self, raw: object) -> dict[str, Any]:
        """Return the inputs as typed values, with the defaults of missing ones.

        The result has every field of the form, with `None` if it has no value.
        It has the name of an `Action` only if its button was pressed.
        Raises `InputsError` with all messages of all fields.
        """
        if not isinstance(raw, Mapping):
            raise InputsError(f"the inputs must be an object, got {readers.kind(raw)}")
        raw = self._match_names(raw)
        steps = self._steps(raw)
        if sum(steps.values()) > patterns.MOST_STEPS:
            longest = max(steps, key=lambda name: steps[name])
            raise InputsError(**{longest: ["is too long to be matched with its pattern"]})
        values: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        for field in self.fields:
            given = raw.get(field.name, field.default)
            values[field.name], messages = field.clean(given)
            if messages:
                errors[field.name] = messages
        for name, allowed in self.actions.items():
            if name in raw and raw[name] in allowed:
                values[name] = raw[name]
            elif raw.get(name) is not None:
                got = readers.show(raw[name])
                errors[name] = [f"must be one of {', '.join(allowed)}, got {got}"]
        errors |= self._find_unknown(raw)
        if errors:
            raise InputsError(**errors)
        return values

    async def validate_async(self, raw: object) -> dict[str, Any]:
        """Do the same, in a thread if it takes long, so that the event loop is not blocked."""
        is_quick = not isinstance(raw, Mapping)
        if isinstance(raw, Mapping) and is_small(raw):
            steps = self._steps(self._match_names(raw))
            is_quick = sum(steps.values()) <= patterns.QUICK_STEPS
        return await run_check(lambda: self.validate(raw), is_quick=is_quick)

    def _steps(self, raw: Mapping[Any, Any]) -> dict[str, int]:
        """Return the most steps that matching takes, for each field with a pattern."""
        found = {}
        for field in self.fields:
            given = raw.get(field.name, field.default)
            # Numbers are short, and other types are refused before the match.
            if (pattern := getattr(field, "pattern", None)) and isinstance(given, str):
                found[field.name] = patterns.steps(pattern, given)
        return found

    def _match_names(self, raw: Mapping[Any, Any]) -> Mapping[Any, Any]:
        return match_names(raw, [*self.field_names, *self.actions])

    def _find_unknown(self, raw: Mapping[Any, Any]) -> dict[str, list[str]]:
        known = dict.fromkeys([*self.field_names, *self.actions])
        names = [str(name) for name in raw if name not in known]
        errors = {
            name[:_LISTED_LENGTH]: [
                "is not a field of this form; "
                + suggestion(name, known, otherwise="the fields are")
            ]
            for name in names[:_LISTED]
        }
        if (more := len(names) - _LISTED) > 0:
            errors.setdefault(GLOBAL_FIELD, []).append(
                f"{more} more {plural(more, 'name')} {verbal(more, 'is')} not in this form"
            )
        return errors

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the inputs, for agents and other clients.

        It describes proper JSON values. `validate` also takes the spellings of terminals
        and browsers.
        """
        defs: dict[str, Any] = {}
        properties = {
            field.name: _hoist_definitions(field.schema(), f"{number}.", defs)
            for number, field in enumerate(self.fields, 1)
        }
        properties |= {name: {"enum": values} for name, values in self.actions.items()}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": [
                field.name for field in self.fields if field.is_required and field.default is None
            ],
            "additionalProperties": False,
            **({"$defs": defs} if defs else {}),
        }


def _hoist_definitions(schema: dict[str, Any], prefix: str, defs: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions of a field's schema to `defs`, and adapt its references."""
    own = schema.pop("$defs", None)
    if not own:
        return schema
    moved = json.dumps([schema, own]).replace('"#/$defs/', f'"#/$defs/{prefix}')
    schema, own = json.loads(moved)
    defs |= {f"{prefix}{name}": each for name, each in own.items()}
    return schema


def _find_costly(elements: Iterable[tuple[object, object]]) -> Iterator[Problem]:
    """Yield a problem at the first element whose pattern or default exceeds the form's limits.

    `elements` are the pattern and the default of each.
    """
    known: set[str] = set()
    cost = steps = 0
    for index, (pattern, value) in enumerate(elements):
        if not isinstance(pattern, str):
            continue
        cost += 0 if pattern in known else patterns.cost(pattern)
        known.add(pattern)
        if cost > patterns.MOST_COST:
            yield Problem(index, "pattern", "is too large, together with those before it")
            return
        steps += patterns.steps(pattern, value) if isinstance(value, str) else 0
        if steps > patterns.MOST_STEPS:
            yield Problem(index, "value", "is too long to be matched with its pattern")
            return


def _find_duplicates(named: Iterable[tuple[int, object, bool]]) -> Iterator[Problem]:
    """Yield a problem for each name that occurs twice. Only buttons may share a name.

    `named` are the index and name of each element, and whether it is an `Action`.
    """
    seen: dict[str, tuple[int, bool]] = {}
    for index, name, is_action in named:
        if not isinstance(name, str):
            continue
        first, shares = seen.setdefault(normalize_name(name), (index, is_action))
        if first != index and not (shares and is_action):
            yield Problem(index, "name", f"{name!r} is taken by element {first + 1}")


def normalize_name(name: str) -> str:
    """Return a name in the form in which Python compares identifiers: NFKC.

    A keyboard may write `é` as one character or as two, and both look alike.
    """
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


def match_names(raw: Mapping[Any, Any], names: Iterable[str]) -> Mapping[Any, Any]:
    """Return inputs with the form's spelling of each name. Unknown names stay as they are.

    Raises `InputsError` if two inputs have names that look the same.
    """
    known = {normalize_name(name): name for name in names}
    if all(known.get(name) == name for name in raw):
        return raw
    found: dict[Any, Any] = {}
    for given, value in raw.items():
        name = known.get(normalize_name(given), given) if isinstance(given, str) else given
        if name in found:
            raise InputsError(**{name: ["is given twice, in two spellings that look the same"]})
        found[name] = value
    return found
