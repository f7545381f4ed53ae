"""`koco config unset`: set settings back to their defaults."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import setting_text


def command(
    names: Annotated[list[str], Argument(metavar="NAME...", help="The names of the settings.")],
    as_json: Annotated[
        bool, Option("--json", help="Print the settings, before and after, as JSON.")
    ] = False,
) -> None:
    """Set settings back to their defaults.

    They take effect at once, without a restart. A setting without a stored value follows the
    default of each new version of koco.

    Example: koco config unset max_running
    """
    changed = connection.connect().change_settings(dict.fromkeys(names))
    setting_text.report(changed, as_json=as_json)
