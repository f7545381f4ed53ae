"""What a person types: lines, and secrets that are not shown.

Prompts go to stderr's terminal, whatever stdout is: `fid=$(koco run …)` asks, too,
and gets the fid and nothing else. None of the libraries at hand does that *and* lets
lines be edited: rich and click leave both to `input()`, which edits only where stdout
is the terminal, and prompts there. So stdout leads to the terminal for that long.
"""

import os
import sys
from typing import TextIO

from koco.errors import Interrupted

#: What stands before what is typed. Plain: readline counts its characters.
PROMPT = "> "


def line(out: TextIO) -> str:
    """Return a line that was typed, without its end; what was pasted may have several.

    Raises:
        EOFError: Ctrl-D, or the terminal has gone.
        KeyboardInterrupt: Ctrl-C.
        UnicodeError: it is no UTF-8.
    """
    typed = _edited(out) if _can_edit(out) else _plain(out)
    typed.encode()  # a lone surrogate is how some locales show what is none
    return typed


def secret(out: TextIO) -> str:
    """Return a line that was typed and not shown; raises what `line` does."""
    import getpass

    typed = getpass.getpass(PROMPT, stream=out)
    typed.encode()
    return typed


def asked_secret(about: str, *, left: str) -> str:
    """Ask on stderr for what is not shown; `left` is told where nothing is typed.

    Raises:
        Interrupted: Ctrl-D, or the terminal has gone.
        KeyboardInterrupt: Ctrl-C.
        UnicodeError: it is no UTF-8.
    """
    sys.stderr.write(f"{about}\n")
    sys.stderr.flush()
    try:
        return secret(sys.stderr)
    except (KeyboardInterrupt, EOFError) as exc:
        sys.stderr.write("\n")  # after the `^C` that a terminal shows
        if isinstance(exc, EOFError):
            raise Interrupted(left) from None
        raise


def lines(out: TextIO) -> list[str]:
    """Return lines up to an empty one, or to Ctrl-D after the first; raises what `line` does."""
    found: list[str] = []
    while True:
        try:
            typed = line(out)
        except EOFError:
            if not found:
                raise
            out.write("\n")
            return found
        if not typed:
            return found
        found.append(typed)


def _plain(out: TextIO) -> str:
    out.write(PROMPT)
    out.flush()
    typed = sys.stdin.readline()
    if not typed:
        raise EOFError
    return typed.removesuffix("\n")


def _edited(out: TextIO) -> str:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(out.fileno(), 1)
    try:
        _load_editor()
        return input(PROMPT)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _can_edit(out: TextIO) -> bool:
    """Say whether `input` would take this for a terminal: it looks at these numbers."""
    try:
        return (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1) and out.isatty()
    except (AttributeError, OSError, ValueError):
        return False  # closed, or no file at all


def _load_editor() -> None:
    """Have `input` edit by readline, where there is one; loading it may write to stdout."""
    import locale

    if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
        return  # readline would drop what is no ASCII
    try:
        import readline
    except ImportError:
        return
    if hasattr(readline, "set_auto_history"):
        # What was typed into one field is no suggestion for the next.
        readline.set_auto_history(False)
