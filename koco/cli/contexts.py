"""What `koco login` and `koco context` share: names, keys that are typed, what is current."""

import sys
from typing import Any

from koco import tokens
from koco.cli.inputs import prompt
from koco.cli.terminal import output
from koco.client import context_file, url
from koco.client.context_file import Choice, Context
from koco.errors import AnswerError, ConflictError, NotFoundError, UsageError

#: The context that `koco up` writes, with what it needs to know again of its cluster.
LOCAL = "local"

#: The help of `--key`, wherever it is an option.
KEY_HELP = "`-` reads the key from stdin; left out, it is asked for at a terminal."

#: Characters of a name at most: a host's have room.
_NAME_LENGTH = 253

#: Bytes of a key at most: a whole file that was piped in by mistake is none.
_KEY_BYTES = 4096


def checked_name(name: str) -> str:
    """Return a name that a new context may have."""
    fits = name.isprintable() and not set(name) & set(" /@") and not name.startswith("-")
    if not name or not fits or len(name) > _NAME_LENGTH:
        what = f"{url.shown(name)!r} is no name of a context"
        raise UsageError(what, hint="such as staging; the name goes before the URL")
    if name in (LOCAL, context_file.FROM_ENVIRONMENT):
        whose = "`koco up`" if name == LOCAL else "the environment"
        raise UsageError(f"the name {name!r} belongs to {whose}", hint="choose another")
    return name


def warn_of_clear(address: str) -> None:
    """Say so where a key, which is about to be sent to a URL, can be read on its way."""
    if url.is_clear(address):
        output.note(f"warning: {address} is not encrypted: the key travels in clear; use https://")


def key(option: str | None, *, is_optional: bool = False) -> str:
    """Return the key that is typed, not shown, at a terminal, or comes from stdin with `-`.

    Where it `is_optional`, nothing typed, or nobody there to type, is the empty key.

    Raises:
        UsageError: there is none, or what there is is none.
        KeyboardInterrupt: Ctrl-C.
        Interrupted: Ctrl-D.
    """
    if option not in (None, "-"):
        hint = "`--key -` reads it from stdin; at a terminal it is asked for"
        raise UsageError("a key in a command line can be seen by others", hint=hint)
    if prompt.can_ask(no_input=False):
        found = _typed("no key if left blank" if is_optional else "not shown")
    elif option is None and is_optional:
        return ""
    elif option == "-" and sys.stdin is not None and not sys.stdin.isatty():
        found = _piped()
    else:
        hint = "`--key -` reads it from stdin; KOCO_URL and KOCO_KEY do without a login"
        raise UsageError("there is nobody to ask for the key", hint=hint)
    return _checked(found.strip(), is_optional=is_optional and option is None)


def wire(context: Context, choice: Choice) -> dict[str, Any]:
    """Return a context as `--json` has it; the key is masked."""
    is_current = choice.name == context.name
    return {
        "name": context.name,
        "url": context.url,
        "key": tokens.mask(context.key) or None,
        "current": is_current,
        "chosen_by": choice.by if is_current else None,
    }


def announce(name: str) -> Choice:
    """Say so where commands do not talk to this context from now on; return who decides."""
    choice = context_file.chosen()
    if choice.name == name:
        if context_file.key_of_environment():
            output.note("note: KOCO_KEY is set, and goes over the context's key")
    elif choice.by == "KOCO_URL":
        output.note("note: KOCO_URL is set, and goes over contexts: `unset KOCO_URL`")
    elif choice.by == "contexts.toml":
        output.note(f"current stays {choice.name!r}: `koco context use {name}` changes that")
    else:
        output.note(f"note: current is {choice.name!r}, as {choice.said_by} says")
    return choice


def version(context: Context) -> str:
    """Return the version of the control plane that answers there, and knows the key.

    Raises:
        UnreachableError: nothing answers.
        NotAllowedError: it does not know the key, or does not let it read.
        AnswerError: it is no control plane.
    """
    from koco.client.client import Client

    with Client(context, remembers=True) as client:
        try:
            return str(client.status()["control_plane"]["version"])
        except NotFoundError as exc:
            hint = "does that URL belong to something else?"
            what = f"{context.url} answers, and is no control plane"
            raise AnswerError(what, hint=hint) from exc


def refuse_any(old: Context) -> None:
    """Keep a context that has the name of a new one."""
    what = f"there is a context {old.name!r} already, for {old.url}"
    raise ConflictError(what, hint="`--force` replaces it")


def _typed(about: str) -> str:
    from koco.cli.terminal import keyboard

    try:
        return keyboard.asked_secret(f"Key ({about})", left="no key was given; nothing was saved")
    except UnicodeError:
        return "?\n?"  # no key, whatever the terminal's locale


def _piped() -> str:
    data = sys.stdin.buffer.read(_KEY_BYTES + 1)
    return data.decode(errors="replace") if len(data) <= _KEY_BYTES else "?\n?"


def _checked(found: str, *, is_optional: bool) -> str:
    if not found and not is_optional:
        raise UsageError("no key was given; nothing was saved")
    if not all("!" <= character <= "~" for character in found):
        hint = "white space, or more than the key, was copied with it"
        raise UsageError("that is no key: it has characters that no key has", hint=hint)
    return found
