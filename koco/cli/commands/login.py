"""`koco login`: save a context for a control plane, after checking the key."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from koco import tokens
from koco.cli import contexts
from koco.cli.cluster import options
from koco.cli.contexts import KEY_HELP
from koco.cli.inputs import password_prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client import context_file, url
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import (
    ConflictError,
    KocoError,
    NotAllowedError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)


def command(
    address: Annotated[str, Argument(metavar="URL", help="The control plane's URL.")],
    name: Annotated[
        str | None, Option("--name", help="The context's name [default: the URL's host].")
    ] = None,
    key: Annotated[str | None, Option("--key", metavar="-", help=KEY_HELP)] = None,
    user: Annotated[
        str | None,
        Option("--user", metavar="NAME", help="Log in as this user, with a password."),
    ] = None,
    password: Annotated[
        str | None,
        Option(
            "--password",
            metavar="-",
            help="Read the password from stdin; without this, a terminal asks for it.",
        ),
    ] = None,
    ca: Annotated[
        str | None,
        Option("--ca", metavar="FILE", help="Also trust these certificates (PEM)."),
    ] = None,
    no_check: Annotated[
        bool,
        Option("--no-check", help="Save the context without contacting the control plane."),
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Log in to a control plane, and make it the current context.

    The command asks for a key, or with --user for a password, and checks it. A password
    begins a session, which replaces the key until it expires. If the check fails, nothing
    is saved.

    Example: koco login https://koco.example.com
    """
    _check_options(user, key=key, password=password, no_check=no_check)
    ca = options.check_ca(ca)
    context_file.select()  # reports a broken file before the user types a key
    address = url.check(address, "the argument")
    guard = _keep_other(address) if name is None else None
    name = contexts.check_name(url.host(address) if name is None else name)
    if guard and (old := context_file.load_contexts().get(name)):
        guard(old)  # before the user types a key in vain
    contexts.warn_of_clear(address)
    if user is None:
        context, until = Context(name, address, contexts.ask_key(key), ca=ca or ""), None
    else:
        context, until = _log_in(Context(name, address, "", ca=ca or "", user=user), password)
    version = None if no_check else _version(context)
    context_file.save_context(context, guard=guard)
    choice = contexts.announce(name)
    if as_json:
        session = {} if until is None else {"user": user, "expires": until}
        output.print_json({**contexts.to_json(context, choice), "version": version, **session})
        return
    about = f"koco {version} answers" if version else "not checked"
    what = f"the key {tokens.mask(context.key)} is saved"
    if until is not None:
        what = f"{user} until {times.at(until, sys.stderr)}"
    output.note(f"{address}: {about}; {what}")
    output.print_line(name)


def _check_options(
    user: str | None, *, key: str | None, password: str | None, no_check: bool
) -> None:
    """Refuse options that exclude each other."""
    if user is None and password is not None:
        raise UsageError("`--password` needs `--user NAME`")
    if user is not None and key is not None:
        raise UsageError("`--user` and `--key` exclude each other")
    if user is not None and no_check:
        raise UsageError("a password is always checked", hint="leave out `--no-check`")


def _log_in(context: Context, password: str | None) -> tuple[Context, str]:
    """Begin a session; return the context with its token, and the time when it expires."""
    usage = "`--password -` reads it from stdin"
    typed = password_prompt.ask_existing(password, f"Password of {context.user}", usage=usage)
    with _saving_nothing(is_key=False), Client(context, remembers=True) as client:
        answer = client.log_in(context.user, typed)
    return context._replace(key=answer["token"]), answer["expires"]


def _keep_other(address: str) -> Callable[[Context], None]:
    """Return a function that refuses to replace a control plane with another URL."""

    def refuse(old: Context) -> None:
        if old.url != address:
            what = f"the context {old.name!r} already exists, for {old.url}"
            raise ConflictError(
                what, hint="`--name` saves this one under another name, or replaces that one"
            )

    return refuse


def _version(context: Context) -> str:
    with _saving_nothing(is_key=not context.is_session):
        return contexts.fetch_version(context)


@contextmanager
def _saving_nothing(*, is_key: bool) -> Iterator[None]:
    """Add to the hint of an error that nothing was saved, and what may be wrong with a key."""
    try:
        yield
    except KocoError as exc:
        if is_key:
            exc.hint = _key_hint(exc) or exc.hint
        exc.hint = f"nothing was saved; {exc.hint}" if exc.hint else "nothing was saved"
        raise


def _key_hint(exc: KocoError) -> str | None:
    if isinstance(exc, UnreachableError) and "--ca" not in (exc.hint or ""):
        # Saving it would not help if the certificate is not trusted.
        return "`--no-check` saves it anyway"
    if isinstance(exc, UnauthorizedError):
        return "is it the complete key of this control plane?"
    if isinstance(exc, NotAllowedError):
        return "`--no-check` saves a key that may not read"
    return None
