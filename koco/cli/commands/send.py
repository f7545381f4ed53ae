"""`koco send`: send a message to an execution."""

from typing import Annotated, Any

from koco.cli import arguments, connection
from koco.cli.arguments import OneFid
from koco.cli.inputs import file_inputs, key_values
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.errors import UsageError


def command(
    fid: OneFid,
    name: Annotated[str, Argument(metavar="NAME", help="The name of the message.")],
    pairs: Annotated[
        list[str] | None,
        Option(
            "--input",
            "-i",
            metavar="KEY=VALUE",
            help="A value of the message (repeatable); KEY=@PATH uploads a file.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        Option(
            "--inputs",
            metavar="FILE",
            help="Read the message from a JSON or YAML file; - is stdin.",
        ),
    ] = None,
    data: Annotated[
        str | None, Option("--data", metavar="JSON", help="The message: any JSON value.")
    ] = None,
    key: Annotated[
        str | None,
        Option(
            metavar="TEXT",
            help="An idempotency key: however often you try, it is sent only once.",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the message as JSON.")] = False,
) -> None:
    """Send a message to an execution, for its `tracer.receive`.

    It is stored when the command returns. The flow gets the messages of a name in their
    order, each once, also those that came before it asked. Without -i, --inputs and --data
    the message has no value (None).

    Example: koco send 5wzk note -i text=shorter
    """
    arguments.require_name(name, "a message")
    value = _read(pairs or [], file, data)
    client = connection.connect()
    if isinstance(value, dict):
        value = file_inputs.resolve(client, value, fid=fid)
    sent = client.send(fid, name, value, key=key)
    if as_json:
        output.print_json(sent)
    else:
        output.print_line(f"{sent['fid']}\t{sent['name']}")


def _read(pairs: list[str], file: str | None, data: str | None) -> Any:
    """Return the value of the message in a command's options."""
    if data is None:
        return key_values.anything(pairs, file) if pairs or file else None
    if pairs or file:
        raise UsageError("--data excludes -i and --inputs", hint="-i makes an object of values")
    return key_values.parse(data, "--data")
