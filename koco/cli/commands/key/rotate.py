"""`koco key rotate`: give a key a new secret."""

import sys
from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client import context_file

#: The minimum grace for the key in use (seconds): if the answer with the new secret gets lost, the
#: old one can still request another.
_OWN_GRACE_S = 60.0


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The key's name.")],
    grace: Annotated[
        str,
        Option(
            "--grace", metavar="TIME", help="How long the old secret stays valid, such as 24h or 0."
        ),
    ] = "24h",
    expires: Annotated[
        str | None,
        Option(
            "--expires",
            metavar="TIME",
            help="When the new one expires: after 30d, for example [default: as before].",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the key as JSON.")] = False,
) -> None:
    """Give an API key a new secret, and print it.

    The secret is shown only once. The old one stays valid for the grace period. If it is the
    key of the current context, the context gets the new one, and the grace period is at least
    a minute.

    Example: koco key rotate ci --grace 1h
    """
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
    # Before anything else can go wrong, because the secret is shown nowhere else.
    sys.stdout.flush()
    if is_ours:
        _update_contexts(context.key, key["secret"])
    over = key["former_until"]
    until = f"stays valid until {times.at(over, sys.stderr)}" if over else "is no longer valid"
    output.note(f"the old secret {until}")


def _update_contexts(old: str, new: str) -> None:
    if names := context_file.replace_key(old, new):
        output.note(
            f"{context_file.contexts_path()} has the new one, for {', '.join(map(repr, names))}"
        )
    else:
        output.note(
            "note: no context has this key; wherever KOCO_KEY is set, it is still the old one"
        )
