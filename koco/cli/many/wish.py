"""The options of `koco run --each`."""

from typing import Any, NamedTuple

from koco.cli.many.lines import Format
from koco.errors import UsageError


class Wish(NamedTuple):
    """What `koco run --each` was asked to do."""

    flow: str
    file: str
    #: Inputs that all launches have. The line's own come first.
    common: dict[str, Any]
    format: Format | None = None
    parallel: int = 8
    #: The column that identifies a line; without it, its content does.
    column: str | None = None
    results: str | None = None
    #: Whether to launch lines again that failed.
    again: bool = False
    as_json: bool = False


def read_format(text: str | None) -> Format | None:
    """Return the format that an option names, or None if it is not given.

    Raises:
        UsageError: there is no such format.
    """
    if text is None:
        return None
    if text.lower() not in set(Format):
        raise UsageError(f"there is no format {text!r}", hint=f"one of: {', '.join(Format)}")
    return Format(text.lower())


def refuse(*, follow: bool, webhook: bool = False) -> None:
    """Raise `UsageError` for options that are only about one execution."""
    if webhook:
        raise UsageError(
            "--webhook is for one execution",
            hint="`koco webhook create NAME URL --flow SERVICE/FLOW` is for all of a flow",
        )
    if follow:
        raise UsageError(
            "--follow and --wait are for one execution", hint="--each always waits for all"
        )
