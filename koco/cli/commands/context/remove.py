"""`koco context remove`: forget a control plane."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koco.client.context_file import Context


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The context.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also `local` while its cluster runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is current then.")] = False,
) -> None:
    """Forget a context and its key; the control plane itself is left alone.

    `local` is refused while its cluster runs: it holds the admin key, and `koco down`
    may need it.

    Example: koco context remove staging
    """
    from koco.cli.terminal import output
    from koco.client import context_file

    context = context_file.find(name)
    if context.cluster and not force:
        _refuse_running(context)
    before = context_file.chosen()
    context_file.remove_context(name)
    after = context_file.chosen()
    if as_json:
        by = after.by if after.name is not None else None
        output.print_json({"removed": name, "current": after.name, "chosen_by": by})
        return
    if context.cluster:
        output.note("note: the admin key is gone with it: `koco up --recover-admin` makes another")
    if after.name is None:
        output.note("none is current now: `koco context use NAME` chooses one")
    elif after.name == name:
        output.note(f"note: {after.said_by} still names it")
    elif before.name != after.name:
        output.note(f"current is {after.name!r}, as {after.said_by} says")
    output.print_line(name)


def _refuse_running(context: "Context") -> None:
    from koco.bootstrap import local_head as cluster
    from koco.bootstrap import running_heads
    from koco.client import context_file
    from koco.errors import ConflictError

    address = str(context.cluster.get("address", ""))
    is_ours = cluster.is_running(cluster.mark_of(context_file.home()))
    if is_ours or running_heads.listens(address):
        raise ConflictError(
            f"the cluster of {context.name!r} runs, and this context holds its admin key",
            hint="`koco down` first, or `--force`",
        )
