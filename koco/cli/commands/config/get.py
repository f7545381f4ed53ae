"""`koco config get`: print the value of a setting."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, setting_text
from koco.errors import UsageError
from koco.spelling import nearest


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The setting's name.")],
    as_json: Annotated[
        bool, Option("--json", help="Print the setting, with its default, as JSON.")
    ] = False,
) -> None:
    """Print the value of a setting.

    It is printed as `koco config set` takes it: a list as `a,b`, an empty one as an empty line.

    Example: koco config get max_running
    """
    items = {each["name"]: each for each in connection.connect().settings()}
    if name not in items:
        near = nearest(name, items)
        hint = f"did you mean {near}?" if near else "`koco config list` lists them"
        raise UsageError(f"there is no setting {name!r}", hint=hint)
    if as_json:
        output.print_json(items[name])
    else:
        output.print_line(setting_text.value(items[name]["value"]))
