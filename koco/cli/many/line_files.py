"""Files that a line of inputs names: `@path` in a field that the flow's form says is a file.

Lines may come from somebody else, so a line can name only files in the folder of the file of lines,
and below it. Text in other fields is left alone.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from koco.cli.inputs import file_inputs
from koco.cli.inputs.key_values import STDIN
from koco.client.answers import Flow
from koco.client.client import Client
from koco.errors import NotFoundError, UsageError


class LineFiles:
    """The file fields of a flow, and the folder that the lines' paths are relative to."""

    def __init__(self, flow: Flow, file: str) -> None:
        self._file = file
        self._fields = {
            str(each["name"])
            for each in flow["form"] or ()
            if each.get("type") == "file" and each.get("name")
        }

    def upload(self, client: Client, inputs: dict[str, Any], line: Iterable[str]) -> dict[str, Any]:
        """Upload the files that the line's fields name; return the inputs with references to them.

        Raises:
            UsageError: a file is missing, cannot be read, or lies elsewhere.
        """
        named = {name: self._find(name, inputs[name]) for name in self._fields & {*line}}
        if not named:
            return inputs
        try:
            return file_inputs.resolve(client, {**inputs, **named}, is_quiet=True)
        except NotFoundError as exc:
            raise UsageError(exc.message) from exc

    def _find(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._find(name, each) for each in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        if value.startswith("@@"):
            return value[1:]
        if self._file == STDIN:
            raise UsageError(f"{name}: lines of standard input cannot name files")
        folder = Path(self._file).resolve().parent
        path = folder / value[1:]
        try:
            is_below = path.resolve().is_relative_to(folder)
        except (OSError, RuntimeError, ValueError) as exc:
            raise UsageError(f"{name}: {value!r} is not a path: {exc}") from exc
        if not is_below:
            raise UsageError(f"{name}: {value!r} is not in the folder of {self._file}, or below it")
        return file_inputs.Local(f"@{path}")
