"""Shared by `koco login` and `koco context`: names, typed keys, the current context."""

import sys
from typing import Any

from koco import tokens
from koco.cli.inputs import prompt
from koco.cli.terminal import keyboard, output
from koco.client import context_file, url
from koco.client.client import Client
from koco.client.context_file import Choice, Context
from koco.errors import AnswerError, ConflictError, NotFoundError, UsageError

#: The help of `--key`, wherever it is an option.
KEY_HELP = "Read the key from stdin; without this, a terminal asks for it."

#: The maximum length of a name (characters): long enough for a host name.
_NAME_LENGTH = 253

#: The maximum length of a key (bytes), to refuse a whole file that was piped in by mistake.
_KEY_BYTES = 4096


def check_name(name: str) -> str:
    """Return a name after checking that a new context may have it."""
    fits = name.isprintable() and not set(name) & set(" /@") and not name.startswith("-")
    if not name or not fits or len(name) > _NAME_LENGTH:
        what = f"{url.redact(name)!r} is not a valid name of a context"
        raise UsageError(what, hint="such as staging; the name goes before the URL")
    if name in (context_file.LOCAL, context_file.FROM_ENVIRONMENT):
        owner = "`koco up`" if name == context_file.LOCAL else "the environment"
        raise UsageError(f"the name {name!r} is reserved for {owner}", hint="choose another")
    return name


def warn_of_clear(address: str) -> None:
    """Warn if the key that is about to be sent to a URL can be read on its way."""
    if url.is_clear(address):
        output.note(f"warning: {address} is not encrypted: the key travels in clear; use https://")


def ask_key(option: str | None, *, is_optional: bool = False) -> str:
    """Return a key that is typed at a terminal without echo, or read from stdin with `-`.

    If it `is_optional`, the key is empty if nothing is typed or there is no terminal.

    Raises:
        UsageError: there is no key, or it is not valid.
        KeyboardInterrupt: Ctrl-C.
        Interrupted: Ctrl-D.
    """
    if option not in (None, "-"):
        hint = "`--key -` reads it from stdin; a terminal asks for it"
        raise UsageError("a key in a command line can be seen by others", hint=hint)
    if prompt.can_ask(no_input=False):
        found = _ask("may be left blank" if is_optional else "not shown")
    elif option is None and is_optional:
        return ""
    elif option == "-" and sys.stdin is not None and not sys.stdin.isatty():
        found = _piped()
    else:
        hint = "`--key -` reads it from stdin; with KOCO_URL and KOCO_KEY no login is needed"
        raise UsageError("there is nobody to ask for the key", hint=hint)
    return _require_valid(found.strip(), is_optional=is_optional and option is None)


def to_json(context: Context, choice: Choice) -> dict[str, Any]:
    """Return a context in its `--json` form, with the key masked."""
    is_current = choice.name == context.name
    return {
        "name": context.name,
        "url": context.url,
        "key": tokens.mask(context.key) or None,
        "current": is_current,
        "chosen_by": choice.by if is_current else None,
    }


def announce(name: str) -> Choice:
    """Tell the user if commands do not use this context from now on; return the choice."""
    choice = context_file.select()
    if choice.name == name:
        if context_file.key_of_environment():
            output.note("note: KOCO_KEY is set, and overrides the context's key")
    elif choice.by == "KOCO_URL":
        output.note("note: KOCO_URL is set, and overrides contexts: `unset KOCO_URL`")
    elif choice.by == "contexts.toml":
        output.note(
            f"the current context is still {choice.name!r}: `koco context use {name}` changes that"
        )
    else:
        output.note(f"note: the current context is {choice.name!r}, selected by {choice.said_by}")
    return choice


def fetch_version(context: Context) -> str:
    """Return the version of the control plane that answers there and accepts the key.

    Raises:
        UnreachableError: nothing answers.
        NotAllowedError: it rejects the key, or the key may not read.
        AnswerError: it is not a control plane.
    """
    with Client(context, remembers=True) as client:
        try:
            return str(client.status()["control_plane"]["version"])
        except NotFoundError as exc:
            hint = "does that URL belong to something else?"
            what = f"{context.url} answers, but is not a control plane"
            raise AnswerError(what, hint=hint) from exc


def refuse_any(old: Context) -> None:
    """Raise if a context already has the new one's name."""
    what = f"the context {old.name!r} already exists, for {old.url}"
    raise ConflictError(what, hint="`--force` replaces it")


def _ask(about: str) -> str:
    try:
        return keyboard.ask_secret(f"Key ({about})", left="no key was given; nothing was saved")
    except UnicodeError:
        return "?\n?"  # not a valid key, whatever the terminal's locale


def _piped() -> str:
    data = sys.stdin.buffer.read(_KEY_BYTES + 1)
    return data.decode(errors="replace") if len(data) <= _KEY_BYTES else "?\n?"


def _require_valid(found: str, *, is_optional: bool) -> str:
    if not found and not is_optional:
        raise UsageError("no key was given; nothing was saved")
    if not all("!" <= character <= "~" for character in found):
        hint = "was white space, or more than the key, copied with it?"
        raise UsageError("that is not a key: it has characters that no key has", hint=hint)
    return found
