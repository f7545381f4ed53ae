"""`koco login`: make a control plane known, once it knows the key."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from koco.cli.contexts import KEY_HELP
from koco.errors import (
    ConflictError,
    KocoError,
    NotAllowedError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from koco.client.context_file import Context


def command(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where it answers.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it; its host if left out.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="-", help=KEY_HELP)] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Log in as a user, with a password."),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "--password",
            metavar="-",
            help="`-` reads it from stdin; left out, it is asked for at a terminal.",
        ),
    ] = None,
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="Certificates (PEM) to trust there.")
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Save it without asking the control plane.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Make a control plane known, and the current one; its key is asked for, and checked.

    With --user a password is asked for instead; the session that it begins takes the key's
    place until it is over. Nothing is saved where what is given is not known there.

    Example: koco login https://koco.example.com
    """
    from koco import tokens
    from koco.cli import contexts
    from koco.cli.cluster import options
    from koco.cli.terminal import output, times
    from koco.client import context_file, url
    from koco.client.context_file import Context

    _check(user, key=key, password=password, no_check=no_check)
    ca = options.checked_ca(ca)
    context_file.chosen()  # a broken file is told of before a key is typed
    address = url.checked(address, "the argument")
    guard = _keep_other(address) if name is None else None
    name = contexts.checked_name(url.host(address) if name is None else name)
    if guard and (old := context_file.load_contexts().get(name)):
        guard(old)  # before a key is typed in vain
    contexts.warn_of_clear(address)
    if user is None:
        context, until = Context(name, address, contexts.key(key), ca=ca or ""), None
    else:
        context, until = _logged_in(Context(name, address, "", ca=ca or "", user=user), password)
    found = None if no_check else _version(context)
    context_file.save_context(context, guard=guard)
    choice = contexts.announce(name)
    if as_json:
        told = {} if until is None else {"user": user, "expires": until}
        output.print_json({**contexts.wire(context, choice), "version": found, **told})
        return
    about = f"koco {found} answers" if found else "not checked"
    what = f"the key {tokens.mask(context.key)} is saved"
    if until is not None:
        what = f"{user} until {times.at(until, sys.stderr)}"
    output.note(f"{address}: {about}; {what}")
    output.print_line(name)


def _check(user: str | None, *, key: str | None, password: str | None, no_check: bool) -> None:
    """Refuse options that do not go together."""
    if user is None and password is not None:
        raise UsageError("`--password` is a user's", hint="`--user NAME` says whose")
    if user is not None and key is not None:
        raise UsageError("`--user` and `--key` are two ways to log in")
    if user is not None and no_check:
        raise UsageError("a password is always checked", hint="leave out `--no-check`")


def _logged_in(context: "Context", password: str | None) -> tuple["Context", str]:
    """Return the context with a session's token, and when that is over."""
    from dataclasses import replace

    from koco.cli.inputs import password_prompt
    from koco.client.client import Client

    usage = "`--password -` reads it from stdin"
    typed = password_prompt.known(password, f"Password of {context.user}", usage=usage)
    with _nothing_saved(is_key=False), Client(context, remembers=True) as client:
        answer = client.log_in(context.user, typed)
    return replace(context, key=answer["token"]), answer["expires"]


def _keep_other(address: str) -> "Callable[[Context], None]":
    """Return what refuses to replace another control plane of the same host."""

    def refuse(old: "Context") -> None:
        if old.url != address:
            what = f"there is a context {old.name!r} already, for {old.url}"
            raise ConflictError(what, hint="`--name` gives this one another name, or replaces that")

    return refuse


def _version(context: "Context") -> str:
    from koco.cli import contexts

    with _nothing_saved(is_key=not context.is_session):
        return contexts.version(context)


@contextmanager
def _nothing_saved(*, is_key: bool) -> "Iterator[None]":
    """Say with every refusal that nothing was saved; of a key, what may be wrong with it."""
    try:
        yield
    except KocoError as exc:
        if is_key:
            exc.hint = _about_key(exc) or exc.hint
        exc.hint = f"nothing was saved; {exc.hint}" if exc.hint else "nothing was saved"
        raise


def _about_key(exc: KocoError) -> str | None:
    if isinstance(exc, UnreachableError) and "--ca" not in (exc.hint or ""):
        # Saving it would not help against a certificate that is not trusted.
        return "`--no-check` saves it all the same"
    if isinstance(exc, UnauthorizedError):
        return "is it this control plane's key, and whole?"
    if isinstance(exc, NotAllowedError):
        return "`--no-check` saves a key that may not read"
    return None
