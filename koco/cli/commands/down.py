"""`koco down`: stop what `koco up` started."""

from collections.abc import Iterator
from typing import Annotated

from koco.cli.cluster import local_down, options, remote
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.plurals import counted


def command(
    ray: Annotated[
        str | None,
        Option(
            "--ray", metavar="URL", help="The dashboard of the Ray cluster to remove koco from."
        ),
    ] = None,
    ray_token: Annotated[
        str | None,
        Option("--ray-token", metavar="-", help="Read Ray's token from stdin; see `koco up`."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Stop what `koco up` started, on this machine or on a Ray cluster.

    Nothing else is stopped, and the store is kept. Running executions lose their processes: at the
    next `koco up`, durable ones go on where they were, and the others end with an error.

    Example: koco down
    """
    if ray is None:
        options.refuse({"--ray-token": ray_token}, without="--ray")
    result = local_down.down() if ray is None else remote.down(ray, token=ray_token)
    if as_json:
        output.print_json(result)
    elif result["ended"]:
        count = counted(result["ended"], "process")
        output.note(f"stopped {result['what']} ({count}); the store is kept")
        for told in describe_open(result["executions"] or {}, result["mortal"] or {}):
            output.note(told)
    else:
        output.note("there is nothing to stop: nothing that `koco up` started is running")


def describe_open(executions: dict[str, int], mortal: dict[str, int]) -> Iterator[str]:
    """Yield what becomes of the executions that have begun."""
    then = "at the next `koco up`"
    alive = {
        status: left
        for status, count in executions.items()
        if status != "queued" and (left := count - mortal.get(status, 0)) > 0
    }
    if number := sum(alive.values()):
        yield f"{counted(number, 'execution')} will go on {then}: {_listed(alive)}"
    if number := sum(mortal.values()):
        yield f"{counted(number, 'execution', 'ends')} with an error {then}: {_listed(mortal)}"


def _listed(executions: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in executions.items() if count)
