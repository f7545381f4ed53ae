"""`koco context add`: add a context without contacting its control plane."""

from typing import Annotated

from koco.cli import contexts
from koco.cli.contexts import KEY_HELP
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client import context_file, url
from koco.client.context_file import Context


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The context's name.")],
    address: Annotated[str, Argument(metavar="URL", help="The control plane's URL.")],
    key: Annotated[str | None, Option("--key", metavar="-", help=KEY_HELP)] = None,
    force: Annotated[bool, Option("--force", help="Replace a context of the same name.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Add a context without contacting its control plane.

    It becomes the current context only if there is none. Without a key, the context needs
    KOCO_KEY. `koco login` checks the key and the URL first.

    Example: koco context add staging https://koco.example.com
    """
    context_file.select()  # reports a broken file before the user types a key
    contexts.check_name(name)
    address = url.check(address, "the argument")
    if not force and (old := context_file.load_contexts().get(name)):
        contexts.refuse_any(old)  # before the user types a key in vain
    contexts.warn_of_clear(address)
    context = Context(name, address, contexts.ask_key(key, is_optional=True))
    context_file.save_context(context, None, guard=None if force else contexts.refuse_any)
    if as_json:
        output.print_json(contexts.to_json(context, context_file.select()))
        return
    if not context.key:
        output.note("note: the context has no key; set KOCO_KEY")
    contexts.announce(name)
    output.print_line(name)
