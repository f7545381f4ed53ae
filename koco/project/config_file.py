"""`koco.toml`: its keys, all its problems at once, and its content as plain data.

Imports only the stdlib at the top, so commands that only need their location start fast.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koco import file_reading
from koco.errors import ManifestError, NotFoundError
from koco.manifest.problems import (
    InvalidValueError,
    KeyPath,
    Place,
    Problem,
    unknown_key,
    wrong_type,
)

#: The file that makes a folder a project.
FILE = "koco.toml"

#: The manifest of a project that does not name one.
MANIFEST = "koco.yaml"


def _text(value: object) -> None:
    if not isinstance(value, str):
        raise wrong_type("text", value)
    if not value.strip():
        raise InvalidValueError("must not be empty")


def _patterns(value: object) -> None:
    if not isinstance(value, list):
        raise wrong_type("a list of paths", value)
    if not value:
        raise InvalidValueError("must have at least one element", f'for example ["{MANIFEST}"]')
    for each in value:
        _text(each)
        if Path(each).is_absolute():
            raise InvalidValueError(f"{each!r} must be relative to {FILE}")


def _seconds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type("a number of seconds", value)
    if not 0 < value < math.inf:
        raise InvalidValueError(f"must be above 0, got {value}")


@dataclass(frozen=True)
class Key:
    """The definition of a key of `koco.toml`: its check, its schema and its meaning."""

    check: Callable[[object], None]
    schema: dict[str, Any]
    description: str
    required: bool = False


#: Every table of `koco.toml` and its keys.
KEYS: dict[str, dict[str, Key]] = {
    "project": {
        "name": Key(
            _text, {"type": "string", "minLength": 1}, "The project's name.", required=True
        ),
        "manifests": Key(
            _patterns,
            {"type": "array", "minItems": 1, "items": {"type": "string"}, "default": [MANIFEST]},
            "The manifests, as paths or globs relative to this file.",
        ),
    },
    "deploy": {
        "context": Key(
            _text,
            {"type": "string", "minLength": 1},
            "The context to use where neither option nor environment names one.",
        ),
        "timeout": Key(
            _seconds,
            {"type": "number", "exclusiveMinimum": 0},
            "Seconds that a deploy may take until the new release is ready.",
        ),
    },
}


def read(path: Path) -> dict[str, Any]:
    """Return the content of a `koco.toml`, checked; raises `ManifestError` with all problems."""
    try:
        with file_reading.opened(path) as file:
            text = file.read().decode("utf-8-sig")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ManifestError([f"{path}:{_syntax(str(exc), text)}"]) from exc
    except UnicodeDecodeError as exc:
        raise ManifestError([f"{path}:1:1: this is not UTF-8"]) from exc
    except (ValueError, RecursionError) as exc:  # endless number or nesting
        raise ManifestError([f"{path}:1:1: cannot be read: {exc}"]) from exc
    except OSError as exc:
        raise NotFoundError(f"{path} cannot be read: {exc.strerror}") from exc
    if problems := list(_problems(data)):
        placed = sorted((_place(text, problem.path), str(problem)) for problem in problems)
        raise ManifestError([f"{path}:{line}:{col}: {said}" for (line, col), said in placed])
    return data


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `koco.toml`."""
    tables = {
        table: {
            "type": "object",
            "properties": {
                name: {**key.schema, "description": key.description} for name, key in keys.items()
            },
            "required": [name for name, key in keys.items() if key.required],
            "additionalProperties": False,
        }
        for table, keys in KEYS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:koco:schema:project:1",
        "title": FILE,
        "type": "object",
        "properties": tables,
        "required": ["project"],
        "additionalProperties": False,
    }


def _syntax(message: str, text: str) -> str:
    """Return tomllib's message with its place in front."""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        return f"{found[2]}:{found[3]}: {found[1]}"
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return f"{line}:{column}: {message.removesuffix(' (at end of document)')}"


def _problems(data: dict[str, Any]) -> Iterable[Problem]:
    for table, content in data.items():
        if table not in KEYS:
            yield unknown_key((table,), KEYS)
        elif not isinstance(content, dict):
            wrong = wrong_type(f"a table [{table}]", content)
            yield Problem((table,), str(wrong), wrong.hint)
        else:
            yield from _table(table, content)
    if "project" not in data:
        yield Problem((), "table [project] is missing", 'begin with [project] and name = "…"')


def _table(table: str, content: dict[str, Any]) -> Iterable[Problem]:
    keys = KEYS[table]
    for name, value in content.items():
        if name not in keys:
            yield unknown_key((table, name), keys)
            continue
        try:
            keys[name].check(value)
        except InvalidValueError as exc:
            yield Problem((table, name), str(exc), exc.hint)
    for name, key in keys.items():
        if key.required and name not in content:
            yield Problem((table,), f"key {name!r} is missing", key.description.rstrip("."))


def _place(text: str, path: KeyPath) -> Place:
    """Return the place of a key, which tomllib does not report; its table if it is not found."""
    table = ""
    places: dict[str, Place] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*[\"']?([\w.-]+)", line):
            table = header[1]
            places.setdefault(table, (number, header.start(1) + 1))
        elif key := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line):
            dotted = f"{table}.{key[1]}" if table else key[1]
            places.setdefault(dotted, (number, key.start(1) + 1))
    parts = [str(part) for part in path]
    return places.get(".".join(parts)) or places.get(parts[0] if parts else "") or (1, 1)
