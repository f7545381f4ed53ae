"""What a new key or user takes over from a former one of the same name."""

from typing import TYPE_CHECKING

from koco.cli.terminal import output

if TYPE_CHECKING:
    from koco.client.client import Client


def note(client: "Client", name: str) -> None:
    """Say so if there are executions of that name: they are the new key's or user's, too.

    That is right for a lost key and its holder, and wrong for another person.
    """
    if client.executions(user=name, limit=1)["items"]:
        output.note(
            f"it sees the executions of an earlier {name!r}; give another person another name"
        )
