"""`koco secret set`: set a secret."""

import sys
from pathlib import Path
from typing import Annotated

from koco.cli import connection
from koco.cli.inputs import prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import keyboard, output
from koco.errors import UsageError
from koco.sizes import format_size

#: The maximum size of a value (bytes), as in the control plane.
_VALUE_BYTES = 64 * 1024
#: Shorter values are not masked in the output of flows (characters); see
#: `koco.sdk.process.secrets`.
_SHORTEST = 6


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The secret's name.")],
    source: Annotated[
        str | None,
        Argument(metavar="[-]", help="- reads the value from stdin.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None, Option("--file", metavar="PATH", help="Read the value from a file.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Set a secret.

    The value comes from stdin, from a file, or is typed at a terminal without being shown. A
    newline at its end is removed. Services whose manifests name the secret get it as an
    environment variable; running services get new processes with the new value.

    Example: koco secret set OPENAI_API_KEY
    """
    if source not in (None, "-"):
        raise UsageError(
            "a value in a command line can be seen by others",
            hint=f"`koco secret set {name} -` reads it from stdin, `--file` from a file",
        )
    if source and file:
        raise UsageError("`-` and `--file` exclude each other")
    client = connection.connect()
    value = _read_value(name, file, is_piped=source == "-")
    answer = client.set_secret(name, value)
    if as_json:
        output.print_json(answer)
        return
    if len(value) < _SHORTEST:
        output.note(f"note: a value below {_SHORTEST} characters is not masked in events")
    if services := answer["services"]:
        output.note(f"these services get processes with the new value: {', '.join(services)}")
    output.print_line(f"{name}  {'set' if answer['new'] else 'replaced'}")


def _read_value(name: str, file: Path | None, *, is_piped: bool) -> str:
    if file is not None:
        data = _read_file(file)
    elif not is_piped and prompt.can_ask(no_input=False):
        return _ask(name)
    elif sys.stdin is not None and not sys.stdin.isatty():
        data = sys.stdin.buffer.read(_VALUE_BYTES + 2)
    else:
        hint = f"`koco secret set {name} -` reads it from stdin, `--file` from a file"
        raise UsageError("there is nobody to ask for the value", hint=hint)
    if len(data) > _VALUE_BYTES:
        raise UsageError(f"the value has more than {format_size(_VALUE_BYTES)}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            "the value is not UTF-8", hint="encode it, for example with base64"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(_VALUE_BYTES + 2)
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}") from exc


def _ask(name: str) -> str:
    about, left = f"Value of {name} (not shown)", "no value was given; nothing was set"
    try:
        return keyboard.ask_secret(about, left=left)
    except UnicodeError:
        raise UsageError("the value is not UTF-8", hint="`--file` reads it from a file") from None
