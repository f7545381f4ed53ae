"""`koco context remove`: remove a context."""

from typing import Annotated

from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client import context_file
from koco.client.context_file import Context
from koco.errors import ConflictError


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The context's name.")],
    force: Annotated[
        bool, Option("--force", help="Remove `local` even if its cluster is running.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print the new current context as JSON.")
    ] = False,
) -> None:
    """Remove a context and its key.

    The control plane is not affected. `local` is kept while its cluster is running, because
    it has the admin key, and `koco down` may need it.

    Example: koco context remove staging
    """
    context = context_file.find(name)
    if context.cluster and not force:
        _refuse_running(context)
    before = context_file.select()
    context_file.remove_context(name)
    after = context_file.select()
    if as_json:
        by = after.by if after.name is not None else None
        output.print_json({"removed": name, "current": after.name, "chosen_by": by})
        return
    if context.cluster:
        output.note("note: its admin key is gone, too: `koco up --recover-admin` creates another")
    if after.name is None:
        output.note("no context is current now: `koco context use NAME` selects one")
    elif after.name == name:
        output.note(f"note: {after.said_by} still selects it")
    elif before.name != after.name:
        output.note(f"the current context is {after.name!r}, selected by {after.said_by}")
    output.print_line(name)


def _refuse_running(context: Context) -> None:
    from koco.bootstrap import local_head, running_heads  # psutil, only for `local`

    address = str(context.cluster.get("address", ""))
    is_ours = local_head.is_running(local_head.mark_of(context_file.home()))
    if is_ours or running_heads.listens(address):
        raise ConflictError(
            f"the cluster of {context.name!r} is running, and the context has its admin key",
            hint="`koco down` stops it; `--force` removes the context anyway",
        )
