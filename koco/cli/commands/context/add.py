"""`koco context add`: make a control plane known without asking it."""

from typing import Annotated

import typer

from koco.cli.contexts import KEY_HELP


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    address: Annotated[str, typer.Argument(metavar="URL", help="Where it answers.")],
    key: Annotated[str | None, typer.Option("--key", metavar="-", help=KEY_HELP)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a context of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Make a control plane known without asking it; the current context stays, if there is one.

    Without a key, KOCO_KEY must give it. `koco login` checks key and URL first.

    Example: koco context add staging https://koco.example.com
    """
    from koco.cli import contexts
    from koco.cli.terminal import output
    from koco.client import context_file, url
    from koco.client.context_file import Context

    context_file.chosen()  # a broken file is told of before a key is typed
    contexts.checked_name(name)
    address = url.checked(address, "the argument")
    if not force and (old := context_file.load_contexts().get(name)):
        contexts.refuse_any(old)  # before a key is typed in vain
    contexts.warn_of_clear(address)
    context = Context(name, address, contexts.key(key, is_optional=True))
    context_file.save_context(context, None, guard=None if force else contexts.refuse_any)
    if as_json:
        output.print_json(contexts.wire(context, context_file.chosen()))
        return
    if not context.key:
        output.note("note: it has no key; KOCO_KEY gives one")
    contexts.announce(name)
    output.print_line(name)
