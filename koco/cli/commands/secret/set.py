"""`koco secret set`: give the control plane a value to keep."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from koco.errors import UsageError

#: Bytes of a value at most, as the control plane has it: a whole file by mistake is none.
_VALUE_BYTES = 64 * 1024
#: Shorter values are not taken out of what flows print (characters); see
#: `koco.sdk.process.secrets`.
_SHORTEST = 6


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What services call it.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="`-` reads the value from stdin.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="Read the value from a file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Set a secret; its value comes from stdin, from a file, or is typed and not shown.

    A newline at the end is no part of it. Services whose manifests name it have it as an
    environment variable; those that run already get processes with the new value.

    Example: koco secret set OPENAI_API_KEY
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    if source not in (None, "-"):
        raise UsageError(
            "a value in a command line can be seen by others",
            hint=f"`koco secret set {name} -` reads it from stdin, `--file` from a file",
        )
    if source and file:
        raise UsageError("`-` and `--file` are two places for one value")
    client = connection.connect()
    value = _value(name, file, is_piped=source == "-")
    answer = client.set_secret(name, value)
    if as_json:
        output.print_json(answer)
        return
    if len(value) < _SHORTEST:
        output.note(f"note: shorter than {_SHORTEST} characters, it is not masked in events")
    if services := answer["services"]:
        output.note(f"processes are replaced by such as have it: {', '.join(services)}")
    output.print_line(f"{name}  {'set' if answer['new'] else 'replaced'}")


def _value(name: str, file: Path | None, *, is_piped: bool) -> str:
    from koco.cli.inputs import prompt

    if file is not None:
        data = _read(file)
    elif not is_piped and prompt.can_ask(no_input=False):
        return _typed(name)
    elif sys.stdin is not None and not sys.stdin.isatty():
        data = sys.stdin.buffer.read(_VALUE_BYTES + 2)
    else:
        hint = f"`koco secret set {name} -` reads it from stdin, `--file` from a file"
        raise UsageError("there is nobody to ask for the value", hint=hint)
    if len(data) > _VALUE_BYTES:
        raise UsageError(f"the value has more than {_VALUE_BYTES >> 10} KiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("the value is no UTF-8", hint="encode it: base64, say") from None
    return text.removesuffix("\n").removesuffix("\r")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(_VALUE_BYTES + 2)
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}") from exc


def _typed(name: str) -> str:
    from koco.cli.terminal import keyboard

    about, left = f"Value of {name} (not shown)", "no value was given; nothing was set"
    try:
        return keyboard.asked_secret(about, left=left)
    except UnicodeError:
        raise UsageError("the value is no UTF-8", hint="`--file` reads it from a file") from None
