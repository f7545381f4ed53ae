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


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type("a table", value)
    return value


def _mappings(value: object) -> None:
    for name, each in _mapping(value).items():
        if not isinstance(each, dict):
            raise InvalidValueError(f"{name}: {wrong_type('a table', each)}")


def _variables(value: object) -> None:
    for name, each in _mapping(value).items():
        if not isinstance(each, str):
            raise InvalidValueError(f"{name}: {wrong_type('text', each)}", "put it in quotes")


def _files(value: object) -> None:
    for each in value if isinstance(value, list) else [value]:
        _text(each)


@dataclass(frozen=True)
class Key:
    """The definition of a key of `koco.toml`: its check, its schema and its meaning."""

    check: Callable[[object], object]
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


#: The table of environments, and the keys of each.
ENV = "env"
ENV_KEYS: dict[str, Key] = {
    "context": Key(
        _text,
        {"type": "string", "minLength": 1},
        "The context to use where neither --context nor KOCO_URL names a control plane.",
    ),
    "timeout": KEYS["deploy"]["timeout"],
    "variables": Key(
        _variables,
        {"type": "object", "additionalProperties": {"type": "string"}},
        "Values for `${NAME}` in runtime.env of manifests.",
    ),
    "env_file": Key(
        _files,
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}},
            ]
        },
        "Files with NAME=VALUE lines for the same, relative to this file. They are not shipped.",
    ),
    "manifest": Key(
        _mapping, {"type": "object"}, "Keys of manifests that all services have instead."
    ),
    "services": Key(
        _mappings,
        {"type": "object", "additionalProperties": {"type": "object"}},
        "The same for single services, by name.",
    ),
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
        raise ManifestError(located(path, text, problems))
    return data


def located(path: Path, text: str, problems: Iterable[Problem]) -> list[str]:
    """Return problems of a `koco.toml` as lines with their places, in the order of the file."""
    placed = sorted((_place(text, problem.path), str(problem)) for problem in problems)
    return [f"{path}:{line}:{col}: {said}" for (line, col), said in placed]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `koco.toml`."""
    tables = {table: _table_schema(keys) for table, keys in KEYS.items()}
    tables[ENV] = {
        "type": "object",
        "description": "Environments, by name: `[env.staging]`.",
        "additionalProperties": _table_schema(ENV_KEYS),
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


def _table_schema(keys: dict[str, Key]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: {**key.schema, "description": key.description} for name, key in keys.items()
        },
        "required": [name for name, key in keys.items() if key.required],
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
        if table not in (*KEYS, ENV):
            yield unknown_key((table,), (*KEYS, ENV))
        elif not isinstance(content, dict):
            yield wrong_type(f"a table [{table}]", content).at((table,))
        elif table == ENV:
            yield from _environments(content)
        else:
            yield from _table((table,), content, KEYS[table])
    if "project" not in data:
        yield Problem((), "table [project] is missing", 'begin with [project] and name = "…"')


def _environments(content: dict[str, Any]) -> Iterable[Problem]:
    for name, each in content.items():
        if isinstance(each, dict):
            yield from _table((ENV, name), each, ENV_KEYS)
        else:
            yield wrong_type(f"a table [{ENV}.NAME]", each).at((ENV, name))


def _table(table: KeyPath, content: dict[str, Any], keys: dict[str, Key]) -> Iterable[Problem]:
    for name, value in content.items():
        if name not in keys:
            yield unknown_key((*table, name), keys)
            continue
        try:
            keys[name].check(value)
        except InvalidValueError as exc:
            yield exc.at((*table, name))
    for name, key in keys.items():
        if key.required and name not in content:
            yield Problem(table, f"key {name!r} is missing", key.description.rstrip("."))


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
    # The nearest table that is found, because a key may be in a table on one line.
    for end in range(len(parts), 0, -1):
        dotted = ".".join(parts[:end])
        below = (at for key, at in places.items() if key == dotted or key.startswith(f"{dotted}."))
        if found := places.get(dotted) or next(below, None):
            return found
    return 1, 1
