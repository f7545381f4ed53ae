"""The lines of a file of inputs, in CSV or JSON, read one by one: a file may have millions."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from koco.cli.inputs.key_values import STDIN
from koco.errors import UsageError
from koco.spelling import nearest

#: The longest value in a CSV file (characters). Python's own limit is 131,072.
_LONGEST = 16 * 1024 * 1024


class Format(StrEnum):
    """The formats of such files."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"


_SUFFIXES = {f".{each}": each for each in Format} | {".ndjson": Format.JSONL}


class Line(NamedTuple):
    """The inputs of one launch, or the problem with them; `number` is its first line, from 1."""

    number: int
    inputs: dict[str, Any]
    problem: str = ""


class Source:
    """A file of inputs; `-` is standard input."""

    def __init__(self, file: str, form: Format | None) -> None:
        """Raise `UsageError` if the format is not known."""
        self.file = file
        self.name = "standard input" if file == STDIN else file
        found = form or _SUFFIXES.get(Path(file).suffix.lower())
        if found is None:
            raise UsageError(
                f"cannot tell the format of {self.name}",
                hint="`--format csv`, `--format tsv` or `--format jsonl` says it",
            )
        self.format = found

    def lines(self) -> Iterator[Line]:
        """Yield the lines. Empty ones are left out.

        Raises:
            UsageError: the file cannot be read, or its header is not valid.
        """
        with self._open() as text:
            yield from self._objects(text) if self.format == Format.JSONL else self._rows(text)

    def columns(self) -> list[str] | None:
        """Return the header's names; None for JSON, and for standard input, which is read once."""
        if self.format == Format.JSONL or self.file == STDIN:
            return None
        with self._open() as text:
            return self._header(self._reader(text))

    def check_columns(self, flow: str, names: set[str] | None, *, key: str | None) -> None:
        """Refuse columns that a flow's form lacks, before each line is refused for them.

        `key` is the column that identifies a line, which need not be an input.

        Raises:
            UsageError: there is one, or there is no column `key`.
        """
        columns = self.columns()
        if columns is None:
            return
        if key is not None and key not in columns:
            near = nearest(key, columns)
            hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}"
            raise UsageError(f"{self.name} has no column {key!r} for --key", hint=hint)
        if names is None:
            return
        for each in columns:
            if each != key and each not in names:
                near = nearest(each, sorted(names))
                hint = (
                    f"did you mean {near!r}?" if near else f"`koco flows {flow}` shows its inputs"
                )
                raise UsageError(f"{self.name}: {flow} has no input {each!r}", hint=hint)

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        try:
            if self.file == STDIN:
                sys.stdin.reconfigure(encoding="utf-8-sig", newline="")  # type: ignore[union-attr]
                yield sys.stdin
                return
            with Path(self.file).open(encoding="utf-8-sig", newline="") as text:
                yield text
        except OSError as exc:
            raise UsageError(f"cannot read {self.name}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise UsageError(f"{self.name} is not UTF-8 text") from exc

    def _reader(self, text: TextIO) -> Any:
        csv.field_size_limit(_LONGEST)
        delimiter = "\t" if self.format == Format.TSV else ","
        return csv.reader(text, delimiter=delimiter, strict=True)

    def _header(self, reader: Any) -> list[str]:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise UsageError(f"{self.name} is empty", hint="its first line has the inputs' names")
        if len(header) == 1 and (
            other := next((each for each in ";\t," if each in header[0]), None)
        ):
            ours = "tabs" if self.format == Format.TSV else "commas"
            raise UsageError(
                f"{self.name}: its first line has {other!r}, but {ours} separate the columns",
                hint="`--format csv` takes commas, `--format tsv` tabs",
            )
        name, count = Counter(header).most_common(1)[0]
        if not all(header):
            raise UsageError(f"{self.name}: column {header.index('') + 1} has no name")
        if count > 1:
            raise UsageError(f"{self.name}: the column {name!r} is there twice")
        return header

    def _rows(self, text: TextIO) -> Iterator[Line]:
        reader, number = self._reader(text), 1
        try:
            header = self._header(reader)
            number = reader.line_num + 1
            for row in reader:
                if any(row):
                    yield _line(number, header, row)
                number = reader.line_num + 1
        except csv.Error as exc:
            # The line where the row begins, because a quote without an end takes all the others.
            is_open = "unexpected end" in str(exc)
            what = "a quote in the row that begins here has no end" if is_open else exc
            raise UsageError(f"{self.name}:{number}: {what}") from exc

    def _objects(self, text: TextIO) -> Iterator[Line]:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError) as exc:
                yield Line(number, {}, f"not JSON: {exc}")
                continue
            if isinstance(value, dict):
                yield Line(number, value)
            else:
                yield Line(number, {}, f"a JSON {type(value).__name__}, not an object")


def _line(number: int, header: list[str], row: list[str]) -> Line:
    """Return a row as inputs: text, which the form converts. Empty values are left out."""
    if len(row) > len(header):
        return Line(number, {}, f"{len(row)} values, and the header has {len(header)} names")
    pairs = zip(header, row, strict=False)
    return Line(number, {name: value for name, value in pairs if value})


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")
