"""Read passwords, typed without echo or from stdin; others can see those in a command line."""

import sys

from koco.cli.inputs import prompt
from koco.cli.terminal import keyboard
from koco.errors import UsageError

#: The control plane's minimum (characters). Checked here so that the user need not type a short
#: password twice.
_SHORTEST = 12
#: The maximum length of a password (bytes), to refuse a whole file that was piped in by mistake.
_BYTES = 4096


def ask_existing(source: str | None, about: str, *, usage: str) -> str:
    """Return an existing password: typed once, or from stdin with `-`.

    `about` is the question; `usage` is the hint if no person can be asked.

    Raises:
        UsageError: there is no password, or it is on the command line.
        KeyboardInterrupt: Ctrl-C.
        Interrupted: Ctrl-D.
    """
    if source not in (None, "-"):
        raise UsageError("a password in a command line can be seen by others", hint=usage)
    if source is None and prompt.can_ask(no_input=False):
        return _ask(about)
    if source is None or sys.stdin is None:
        raise UsageError("there is nobody to ask for the password", hint=usage)
    if sys.stdin.isatty():
        return _ask(about)
    data = sys.stdin.buffer.read(_BYTES + 1)
    try:
        found = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password is not UTF-8") from None
    if len(data) > _BYTES or "\n" in found:
        raise UsageError("stdin has more than one line, so it is not a password")
    return _require(found)


def ask_new(source: str | None, about: str, *, usage: str) -> str:
    """Return a new password, typed twice; otherwise like `known`."""
    first = ask_existing(source, about, usage=usage)
    if len(first) < _SHORTEST:
        raise UsageError(
            f"a password has at least {_SHORTEST} characters",
            hint="four or five unrelated words make a good one",
        )
    if prompt.can_ask(no_input=False) and _ask("Again") != first:
        raise UsageError("the two passwords differ; nothing was set")
    return first


def _ask(about: str) -> str:
    try:
        left = "no password was given; nothing was done"
        return _require(keyboard.ask_secret(f"{about} (not shown)", left=left))
    except UnicodeError:
        raise UsageError("the password is not UTF-8") from None


def _require(found: str) -> str:
    if not found:
        raise UsageError("no password was given; nothing was done")
    return found
