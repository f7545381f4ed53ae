"""Check whether a person can be asked, and ask them for a form's values, on stderr.

Forms and the code that draws them are imported only when a person is asked, never for a script.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from koco.cli.terminal import keyboard, output
from koco.client.answers import Element
from koco.errors import GLOBAL_FIELD, InputsError, Interrupted, KocoError, UsageError

#: The help of `--no-input`, wherever it is an option.
NO_INPUT = "Never ask, not even at a terminal."


def is_browser_like(described: Mapping[str, Any]) -> bool:
    """Return whether a flow, or a lock's flow, gets its values as a browser sends them."""
    # Not for scripts, which do not ask.
    from koco.manifest.descriptions import KODOSUMI

    return described.get("dialect") == KODOSUMI


def complete(described: Mapping[str, Any], given: Any) -> Any:
    """Return an answer with the values that a browser sends for the fields that are not given.

    `described` is a lock with its form. If its flow was not written for Kodosumi, or the answer is
    no object, the answer stays as it is.

    Raises:
        InputsError: a required field has no value.
    """
    form = described["form"]
    if not form or not isinstance(given, dict) or not is_browser_like(described):
        return given
    # Only for flows that were written for Kodosumi.
    from koco.forms import FormError, Model, browser

    try:
        model = Model.from_list([dict(each) for each in form])
    except FormError:  # of a newer control plane
        return given
    return browser.complete(model, given)


def can_ask(no_input: bool) -> bool:
    """Return whether a person is at stdin and stderr, and may be asked."""
    streams = (sys.stdin, sys.stderr)
    return not no_input and all(each is not None and each.isatty() for each in streams)


def ask(
    form: Sequence[Element],
    given: dict[str, Any],
    *,
    out: TextIO | None = None,
    typed: dict[str, Any] | None = None,
    as_browser: bool = False,
    unchanged: str = "the form was not completed; nothing was sent",
) -> dict[str, Any]:
    """Return `given`, completed with a person's answers to the other fields.

    Answers are JSON values; those to file fields are `file_inputs.Local`. A field that is left
    blank and has no default is left out. `typed` has refused values by field: then only these
    fields are asked, with the earlier values as suggestions. With `as_browser`, which is for flows
    that were written for Kodosumi, the answers are those that a browser sends.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        Interrupted: Ctrl-D, or the terminal is gone; the message is `unchanged`.
        UsageError: the form has elements that this koco does not know.
    """
    # Not for scripts: forms take 20 ms to import.
    from koco.cli.inputs.form_prompt import Dialogue
    from koco.forms import FormError, Model

    out = out or sys.stderr
    try:
        model = Model.from_list([dict(each) for each in form])
    except FormError as exc:
        hint = "is the control plane newer than this koco? -i and --inputs need no form"
        raise UsageError(f"cannot show this form: {exc}", hint=hint) from exc
    try:
        return given | Dialogue(out, as_browser=as_browser).fill(model, given, typed)
    except KeyboardInterrupt:
        out.write("\n")  # after the `^C` that a terminal shows
        raise
    except EOFError:
        out.write("\n")
        raise Interrupted(unchanged) from None


def ask_again(
    form: Sequence[Element],
    values: dict[str, Any],
    refused: InputsError,
    *,
    out: TextIO | None = None,
    as_browser: bool = False,
) -> dict[str, Any]:
    """Show the refused values, ask for them again, and return all values; raises like `ask`.

    Raises `refused` itself if no field of the form can fix it.
    """
    fields = {each.get("name") for each in form}
    wrong = refused.errors.keys() - {GLOBAL_FIELD}
    if not wrong or not wrong <= fields:
        raise refused
    output.print_error(KocoError(refused.message))  # without its hint, which does not apply yet
    kept = {name: value for name, value in values.items() if name not in wrong}
    typed = {name: values.get(name) for name in wrong}
    return ask(form, kept, out=out, typed=typed, as_browser=as_browser)


def confirm(question: str, *, action: str, unchanged: str, as_json: bool, hint: str = "") -> None:
    """Ask a person to confirm an action that destroys something.

    Raises:
        UsageError: there is no person to ask; the message names the `action`.
        Interrupted: the answer is no; the message is `unchanged`.
    """
    if as_json or not can_ask(False):
        what = f"this would {action}, and there is nobody to confirm it"
        raise UsageError(what, hint=f"`--yes` does it without asking{hint}")
    if not _agrees(question):
        raise Interrupted(unchanged)


def _agrees(question: str) -> bool:
    """Ask a person a question. Any answer except yes means no."""
    sys.stderr.write(f"{output.harmless(question)} [y/N]\n")
    try:
        typed = keyboard.line(sys.stderr)
    except EOFError:
        sys.stderr.write("\n")
        return False
    except UnicodeError:
        return False
    return typed.strip().lower() in ("y", "yes")
