"""Read typed lines, and secrets without echo.

Prompts go to stderr's terminal, whatever stdout is, so `fid=$(koco run …)` can ask and still gets
only the fid. No available library does this *and* lets users edit lines: rich and click leave both
to `input()`, which edits only if stdout is the terminal, and prompts there. So stdout points to the
terminal during the prompt.
"""

import os
import sys
from typing import TextIO

from koco.errors import Interrupted

#: The prompt. It has no style, because readline counts its characters.
PROMPT = "> "


def line(out: TextIO) -> str:
    """Return a typed line without its end. Pasted text may have several lines.

    Raises:
        EOFError: Ctrl-D, or the terminal is gone.
        KeyboardInterrupt: Ctrl-C.
        UnicodeError: it is not UTF-8.
    """
    typed = _edited(out) if _can_edit(out) else _plain(out)
    typed.encode()  # some locales show invalid bytes as lone surrogates
    return typed


def secret(out: TextIO) -> str:
    """Return a line that was typed without echo; raises the errors of `line`."""
    import getpass  # termios, only to type a secret

    typed = getpass.getpass(PROMPT, stream=out)
    typed.encode()
    return typed


def ask_secret(about: str, *, left: str) -> str:
    """Ask for a secret on stderr, without echo; `left` is the hint if nothing is typed.

    Raises:
        Interrupted: Ctrl-D, or the terminal is gone.
        KeyboardInterrupt: Ctrl-C.
        UnicodeError: it is not UTF-8.
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
    """Return lines up to an empty one, or to Ctrl-D after the first; raises like `line`."""
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
    """Return whether `input` would treat this as a terminal: it checks these descriptors."""
    try:
        return (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1) and out.isatty()
    except (AttributeError, OSError, ValueError):
        return False  # closed, or not a file


def _load_editor() -> None:
    """Make `input` use readline if it is available. Loading it may write to stdout."""
    import locale  # only at a terminal

    if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
        return  # readline would drop characters that are not ASCII
    try:
        import readline  # writes to stdout when it is loaded, in some builds
    except ImportError:
        return
    if hasattr(readline, "set_auto_history"):
        # Text typed into one field is not a suggestion for the next.
        readline.set_auto_history(False)
