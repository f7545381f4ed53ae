"""`koco login`: make a control plane known, once it knows the key."""

from typing import TYPE_CHECKING, Annotated

import typer

from koco.cli.contexts import KEY_HELP
from koco.errors import (
    ConflictError,
    KocoError,
    NotAllowedError,
    UnauthorizedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from koco.config import Context


def command(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where it answers.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it; its host if left out.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="-", help=KEY_HELP)] = None,
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="Certificates (PEM) to trust there.")
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Save it without asking the control plane.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Make a control plane known, and the current one; its key is asked for, and checked.

    Nothing is saved where it does not answer, or does not know the key.

    Example: koco login https://koco.example.com
    """
    from koco import config, url
    from koco.cli import contexts, options, output
    from koco.config import Context

    ca = options.checked_ca(ca)
    config.chosen()  # a broken file is told of before a key is typed
    address = url.checked(address, "the argument")
    guard = _keep_other(address) if name is None else None
    name = contexts.checked_name(url.host(address) if name is None else name)
    if guard and (old := config.load_contexts().get(name)):
        guard(old)  # before a key is typed in vain
    contexts.warn_of_clear(address)
    context = Context(name, address, contexts.key(key), ca=ca or "")
    found = None if no_check else _version(context)
    config.save_context(context, guard=guard)
    choice = contexts.announce(name)
    if as_json:
        output.print_json({**contexts.wire(context, choice), "version": found})
        return
    about = f"koco {found} answers" if found else "not checked"
    output.note(f"{address}: {about}; the key {config.mask(context.key)} is saved")
    output.print_line(name)


def _keep_other(address: str) -> "Callable[[Context], None]":
    """Return what refuses to replace another control plane of the same host."""

    def refuse(old: "Context") -> None:
        if old.url != address:
            what = f"there is a context {old.name!r} already, for {old.url}"
            raise ConflictError(what, hint="`--name` gives this one another name, or replaces that")

    return refuse


def _version(context: "Context") -> str:
    from koco.cli import contexts

    try:
        return contexts.version(context)
    except UnreachableError as exc:
        # Saving it would not help against a certificate that is not trusted.
        kept = exc.hint if "--ca" in (exc.hint or "") else "`--no-check` saves it all the same"
        exc.hint = f"nothing was saved; {kept}"
        raise
    except UnauthorizedError as exc:
        exc.hint = "nothing was saved; is it this control plane's key, and whole?"
        raise
    except NotAllowedError as exc:
        exc.hint = "nothing was saved; `--no-check` saves a key that may not read"
        raise
    except KocoError as exc:
        exc.hint = f"nothing was saved; {exc.hint}" if exc.hint else "nothing was saved"
        raise
