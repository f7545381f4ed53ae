"""`koco key rotate`: give a key a new secret."""

import sys
from typing import Annotated

import typer

#: What the old secret of the key in use is good for at least, while the new one is written
#: into the context (seconds): should the answer be lost, it asks for another one.
_OWN_GRACE_S = 60.0


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key.")],
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="TIME", help="How long the old one is good yet: 24h, 0."),
    ] = "24h",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long the new one is good: 30d."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the key as JSON.")] = False,
) -> None:
    """Give a key a new secret and print it; it is shown this once.

    The old one is good for the grace. Where it is the key of this context, the context takes
    the new one, and the old one has a minute at least. Without --expires it expires as before.

    Example: koco key rotate ci --grace 1h
    """
    from koco.cli import connection
    from koco.cli.terminal import output, times
    from koco.client import context_file

    grace_s = 0.0 if grace == "0" else times.duration(grace, "--grace")
    expires_s = times.duration(expires, "--expires") if expires is not None else None
    client, context = connection.connect(), connection.context()
    me = client.me()
    is_ours = (me["by"], me["name"]) == ("key", name)
    if is_ours:
        # A file that cannot be written must fail before the key has changed.
        context_file.replace_key(context.key, context.key)
        grace_s = max(grace_s, _OWN_GRACE_S)
    key = client.rotate_key(name, grace_s=grace_s, expires_s=expires_s)
    if as_json:
        output.print_json(key)
    else:
        output.print_line(key["secret"])
    # Before anything else can go wrong: it is told nowhere else.
    sys.stdout.flush()
    if is_ours:
        _keep(context.key, key["secret"])
    over = key["former_until"]
    until = f"is good until {times.at(over, sys.stderr)}" if over else "is good no more"
    output.note(f"the old one {until}")


def _keep(old: str, new: str) -> None:
    from koco.cli.terminal import output
    from koco.client import context_file

    if names := context_file.replace_key(old, new):
        output.note(
            f"it is the key of {', '.join(map(repr, names))} in {context_file.contexts_path()}"
        )
    else:
        output.note("note: it is in no context; what sets KOCO_KEY has the old one")
