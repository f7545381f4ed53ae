"""`koco answer`: answer what an execution asks."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koco.cli.inputs import prompt

if TYPE_CHECKING:
    from koco.client.client import Client


def command(
    fid: Annotated[
        str, typer.Argument(metavar="FID", help="The execution: its fid or a unique prefix.")
    ],
    lock: Annotated[
        str | None,
        typer.Argument(
            metavar="[LOCK]",
            show_default=False,
            help="The lock, by name or id; the one that is open if left out.",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="KEY=VALUE", help="A value; repeatable."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--inputs", metavar="FILE", help="JSON or YAML with the answer; - is stdin."),
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lock as JSON.")] = False,
) -> None:
    """Answer what an execution asks a person.

    At a terminal, where nothing is given, what is asked is shown, and the lock's form
    asked for field by field. A lock without a form takes any JSON value: --inputs gives
    one, -i makes an object.

    Example: koco answer 5wzk approval -i ok=yes
    """
    from koco.cli import approvals, connection
    from koco.cli.inputs import key_values
    from koco.cli.terminal import output
    from koco.errors import UsageError

    if lock is not None and "=" in lock:
        what = f"{lock!r} is no name of a lock"
        raise UsageError(what, hint=f"a value is given so: `-i {shlex.quote(lock)}`")
    client = connection.connect()
    is_bare = not (pairs or file)
    asks = prompt.can_ask(no_input)
    given = {} if is_bare else key_values.anything(pairs or (), file)
    found = _chosen(client, fid, lock)
    if is_bare and found["status"] == "open":
        if asks:
            approvals.show(found)
            given = approvals.ask(found)
        elif found["form"] is None:
            raise UsageError(
                f"the lock {found['name']!r} takes any JSON value, and none is given",
                hint="-i key=value makes an object, --inputs FILE gives any value",
            )
    settled = approvals.answer(client, found, given, asks=asks)
    if as_json:
        output.print_json(settled)
    else:
        output.print_line(f"{settled['fid']}\t{settled['name']}\t{settled['status']}")


def _chosen(client: "Client", fid: str, name: str | None) -> dict[str, Any]:
    """Return the lock that is meant, with its form."""
    from koco.cli import approvals
    from koco.errors import ConflictError

    if name is not None:
        return client.lock(fid, name)
    locks = approvals.open_locks(client, fid)
    if len(locks) == 1:
        return client.lock(locks[0]["fid"], locks[0]["lid"])
    if not locks:
        execution = client.execution(fid)
        raise ConflictError(
            f"{execution['fid']} awaits no answer: its status is {execution['status']}",
            hint="`koco inbox` lists what waits for a person",
        )
    names = [lock["name"] for lock in locks]
    called = [
        lock["name"] if names.count(lock["name"]) == 1 else f"{lock['lid']} ({lock['name']})"
        for lock in locks
    ]
    raise ConflictError(
        f"{locks[0]['fid']} awaits several answers: {', '.join(called)}",
        hint=f"say which: `koco answer {locks[0]['fid']} {called[0].split()[0]}`",
    )
