"""`koco answer`: answer a lock."""

from typing import Annotated

from koco.cli import approvals, arguments, connection
from koco.cli.arguments import OneFid
from koco.cli.inputs import key_values, prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client.answers import LockWithForm
from koco.client.client import Client
from koco.errors import ConflictError, UsageError


def command(
    fid: OneFid,
    lock: Annotated[
        str | None,
        Argument(
            metavar="[LOCK]",
            show_default=False,
            help="The lock: its name or id [default: the one that is open].",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        Option("--input", "-i", metavar="KEY=VALUE", help="A value of the answer (repeatable)."),
    ] = None,
    file: Annotated[
        str | None,
        Option(
            "--inputs", metavar="FILE", help="Read the answer from a JSON or YAML file; - is stdin."
        ),
    ] = None,
    no_input: Annotated[bool, Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Annotated[bool, Option("--json", help="Print the lock as JSON.")] = False,
) -> None:
    """Answer a lock that an execution waits for.

    At a terminal, without -i and --inputs, the command shows the question and asks for
    each field of the lock's form. A lock without a form takes any JSON value: --inputs
    reads one from a file, and -i makes an object.

    Example: koco answer 5wzk approval -i ok=yes
    """
    if lock is not None:
        arguments.require_name(lock, "a lock")
    client = connection.connect()
    is_bare = not (pairs or file)
    asks = prompt.can_ask(no_input)
    given = {} if is_bare else key_values.anything(pairs or (), file)
    found = _find(client, fid, lock)
    if is_bare and found["status"] == "open":
        if asks:
            approvals.show(found)
            given = approvals.ask(found)
        elif found["form"] is None:
            raise UsageError(
                f"no answer is given: the lock {found['name']!r} takes any JSON value",
                hint="-i key=value makes an object, --inputs FILE reads any JSON value",
            )
    if found["status"] == "open" and not (is_bare and asks):
        given = prompt.complete(found, given)
    settled = approvals.answer(client, found, given, asks=asks)
    if as_json:
        output.print_json(settled)
    else:
        output.print_line(f"{settled['fid']}\t{settled['name']}\t{settled['status']}")


def _find(client: Client, fid: str, name: str | None) -> LockWithForm:
    """Return the requested lock with its form. Without a name, it is the only open one."""
    if name is not None:
        return client.lock(fid, name)
    locks = approvals.open_locks(client, fid)
    if len(locks) == 1:
        return client.lock(locks[0]["fid"], locks[0]["lid"])
    if not locks:
        execution = client.execution(fid)
        raise ConflictError(
            f"{execution['fid']} does not wait for an answer: it is {execution['status']}",
            hint="`koco inbox` lists the locks that wait for an answer",
        )
    names = [lock["name"] for lock in locks]
    labels = [
        lock["name"] if names.count(lock["name"]) == 1 else f"{lock['lid']} ({lock['name']})"
        for lock in locks
    ]
    raise ConflictError(
        f"{locks[0]['fid']} waits for several answers: {', '.join(labels)}",
        hint=f"choose one: `koco answer {locks[0]['fid']} {labels[0].split()[0]}`",
    )
