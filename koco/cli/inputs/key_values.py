"""A flow's inputs from a command line: an object from a file, and `key=value` over it.

Values from the command line stay text. The server converts them by the flow's form, because it has
the rules. `@path` is a file (see `file_inputs`), and several values make a list.
"""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from koco.cli.inputs import file_inputs
from koco.errors import UsageError

#: The file name that stands for standard input.
STDIN = "-"

#: The longest option that is shown in a hint (characters).
_LONGEST_HINT = 100


def gather(pairs: Sequence[str], file: str | None) -> dict[str, Any]:
    """Return the inputs from `-i` and `--inputs`.

    Raises:
        UsageError: a pair without `=`, a key twice, a file that does not hold an object.
    """
    inputs = {**(read(file) if file is not None else {}), **_parse_pairs(pairs)}
    _require_json(inputs)
    return inputs


def anything(pairs: Sequence[str], file: str | None) -> Any:
    """Return the inputs if any JSON value is allowed; with pairs it is an object.

    Raises:
        UsageError: see `gather`.
    """
    if pairs or file is None:
        return gather(pairs, file)
    value = load(file)
    _require_json(value)
    return value


def _require_json(inputs: Any) -> None:
    try:
        # A value that is not JSON would fail later, without a clear message.
        json.dumps(inputs, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "the inputs are not UTF-8", hint="is the terminal's locale right?"
        ) from None
    except RecursionError:
        raise UsageError("the inputs are nested too deep") from None
    except ValueError:
        raise UsageError(
            "the inputs contain a number that JSON does not have (nan or infinity)"
        ) from None


def read(file: str) -> dict[str, Any]:
    """Return the object in a file of JSON or YAML; `-` is standard input."""
    value = load(file)
    if not isinstance(value, dict):
        what = "nothing" if value is None else f"a {type(value).__name__}"
        raise UsageError(
            f"{_source(file)} contains {what}, not an object", hint='such as {"name": "value"}'
        )
    return value


def load(file: str) -> Any:
    """Return the value in a file of JSON or YAML; `-` is standard input."""
    source = _source(file)
    try:
        raw = _stdin() if file == STDIN else Path(file).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{source} is not UTF-8 text") from exc
    if not text.strip():
        # YAML reads an empty file as null. That is a valid answer, but not one that the user gave.
        raise UsageError(f"{source} is empty", hint='such as {"name": "value"}')
    try:
        return _loads(text, source)
    except ValueError:
        return _yaml(text, source)


def parse(text: str, option: str) -> Any:
    """Return the value of an option in JSON.

    Raises:
        UsageError: it is not JSON.
    """
    try:
        value = _loads(text, option)
    except ValueError as exc:
        hint = f"text needs quotes of its own: {option} {shlex.quote(json.dumps(text))}"
        raise UsageError(f"{option} is not JSON: {exc}", hint=hint) from exc
    _require_json(value)
    return value


def _loads(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=partial(_unique, source))
    except RecursionError:
        raise UsageError(f"{source} is nested too deep") from None


def _stdin() -> bytes:
    return b"" if sys.stdin is None else sys.stdin.buffer.read()  # None if it was closed


def _source(file: str) -> str:
    return "standard input" if file == STDIN else file


def _parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{pair!r} is not in the form key=value", hint="such as -i who=World")
        parsed = file_inputs.parse_value(value)
        if key not in found:
            found[key] = parsed
        elif isinstance(parsed, file_inputs.Local) and not isinstance(found[key], str):
            found[key].append(parsed)
        elif isinstance(parsed, file_inputs.Local) and isinstance(found[key], file_inputs.Local):
            found[key] = [found[key], parsed]
        else:
            raise UsageError(f"the input {key!r} is given twice", hint=_as_list(key, pairs))
    return found


def _as_list(key: str, pairs: Sequence[str]) -> str:
    """Return a hint with the option that gives all values of a key as one list in JSON."""
    given = [value for name, _, value in (pair.partition("=") for pair in pairs) if name == key]
    option = shlex.quote(f"{key}={json.dumps([_typed(each) for each in given])}")
    example = option if len(option) <= _LONGEST_HINT else f'{key}=\'["a", "b"]\''
    return f"a list is one value, in JSON: -i {example}"


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _unique(source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise UsageError(f"{source}: the key {twice!r} is given twice")
    return found


def _yaml(text: str, source: str) -> Any:
    # Only for YAML: most inputs are given with `-i` or as JSON.
    import yaml

    from koco.manifest.yaml_document import Loader

    try:
        # Loaded like manifests: `no` and `10:30` are text. It is a SafeLoader.
        return _as_json(yaml.load(text, Loader=Loader), source)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{where}: neither JSON nor YAML: {exc.problem}") from exc
    except RecursionError:
        raise UsageError(f"{source} is nested too deep") from None
    except yaml.YAMLError as exc:
        raise UsageError(f"{source}: neither JSON nor YAML: {exc}") from exc


def _as_json(value: Any, source: str) -> Any:
    """Return a YAML value in JSON form: dates become text, and keys must be text."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                _refuse(f"the key {key!r}", source)
        return {key: _as_json(each, source) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each, source) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | set):
        _refuse(f"a value of type {type(value).__name__}", source)
    return value


def _refuse(what: str, source: str) -> NoReturn:
    raise UsageError(f"{source}: {what} cannot be JSON", hint="put it in quotes")
