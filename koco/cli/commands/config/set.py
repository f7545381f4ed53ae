"""`koco config set`: change settings of the control plane."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import setting_text
from koco.errors import UsageError


def command(
    pairs: Annotated[
        list[str],
        Argument(metavar="NAME=VALUE...", help="Settings; a,b if one takes several values."),
    ],
    as_json: Annotated[
        bool, Option("--json", help="Print the settings, before and after, as JSON.")
    ] = False,
) -> None:
    """Change settings of the control plane while it runs.

    They take effect at once, without a restart, and outlive the control plane's process. If
    one of them is refused, none is changed. Prints each value before and after.

    Example: koco config set max_running=50
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            like = f"{name}={pairs[1]}" if len(pairs) == 2 else f"{name}=VALUE"
            raise UsageError(
                f"{pair!r} is not in the form NAME=VALUE", hint=f"`koco config set {like}`"
            )
        values[name] = value
    setting_text.report(connection.connect().change_settings(values), as_json=as_json)
