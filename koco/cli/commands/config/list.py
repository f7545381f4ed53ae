"""`koco config list`: list the control plane's settings."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output, setting_text


def command(
    changed: Annotated[
        bool, Option("--changed", help="Only those that differ from their defaults.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the settings as JSON.")] = False,
) -> None:
    """List the control plane's settings.

    Shows each with its default. An admin can change them while the control plane runs.

    Example: koco config list
    """
    items = connection.connect().settings()
    if changed:
        items = [each for each in items if each["value"] != each["default"]]
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_fields(("name", "value", "default"), items, setting_text.value)
    elif items:
        output.print_table(
            ("NAME", "VALUE", "DEFAULT"),
            [
                (each["name"], *map(setting_text.shown, (each["value"], each["default"])))
                for each in items
            ],
            widest="VALUE",
        )
    else:
        output.note("all settings have their defaults")
