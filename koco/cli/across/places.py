"""The control planes that `--contexts` names, and what they answer."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from koco.cli import connection
from koco.client import context_file
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import KocoError, UsageError, unexpected
from koco.tokens import mask_all

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """What a context's control plane has answered: a value, or an error."""

    context: Context
    value: Result | None = None
    error: KocoError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{context, url, error}`."""
        error = None if self.error is None else self.error.to_wire()["error"]
        if error is not None:
            error["message"] = mask_all(error["message"])
        return {"context": self.context.name, "url": self.context.url, "error": error}


def named(contexts: str) -> list[Context]:
    """Return the contexts in the value of `--contexts`, in that order.

    Raises:
        UsageError: it names none, or a control plane twice, or `--context` is given as well.
        NotFoundError: there is no context of one of the names.
    """
    if connection.is_chosen():
        what = "--context and --contexts contradict each other"
        raise UsageError(what, hint="give either of them")
    names = list(dict.fromkeys(name.strip() for name in contexts.split(",") if name.strip()))
    if not names:
        raise UsageError("--contexts names no context", hint="such as --contexts eu,us")
    found = [context_file.find(name) for name in names]
    by_url: dict[str, str] = {}
    for each in found:
        url = each.url.rstrip("/")
        if url in by_url:
            what = f"--contexts: {by_url[url]} and {each.name} are the same control plane, {url}"
            raise UsageError(what, hint=f"leave out {each.name}")
        by_url[url] = each.name
    return found


def ask(
    contexts: Sequence[Context],
    question: Callable[[Client], Result],
    *,
    away_s: float | None = None,
) -> list[Answer[Result]]:
    """Ask all control planes at the same time, and return their answers in the contexts' order.

    `away_s` is how long to wait for one that is away, as in `connection.connect`.
    """
    answers: list[Answer[Result]] = [Answer(context) for context in contexts]

    def ask_one(at: int, context: Context) -> None:
        try:
            answer = question(connection.connect(away_s=away_s, chosen=context))
            answers[at] = Answer(context, answer)
        except KocoError as exc:
            answers[at] = Answer(context, error=exc)
        except Exception as exc:  # noqa: BLE001 - raised again by `check`, in the main thread
            answers[at] = Answer(context, error=unexpected(exc))

    # Daemons, so that Ctrl-C does not wait for one that is silent.
    threads = [
        threading.Thread(target=ask_one, args=each, daemon=True) for each in enumerate(contexts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def check(answers: Sequence[Answer[Any]], *, unchanged: str = "") -> None:
    """Raise the errors of all that have failed as one, which names their contexts.

    Its exit code is theirs, or 1 if they have different ones. `unchanged` ends the hint.
    """
    failures = [(each.context.name, each.error) for each in answers if each.error is not None]
    if failures:
        raise join(failures, unchanged=unchanged)


def join(failures: Sequence[tuple[str, KocoError]], *, unchanged: str = "") -> KocoError:
    """Return one error for the errors of some contexts."""
    lines = [f"{name}: {line}" for name, each in failures for line in each.message.split("\n")]
    hints = [
        f"{name}: {each.hint}" if len(failures) > 1 else each.hint
        for name, each in failures
        if each.hint
    ]
    joined = KocoError("\n".join(lines), hint="; ".join([*hints, *filter(None, [unchanged])]))
    if len({each.exit_code for _, each in failures}) == 1:
        joined.exit_code = failures[0][1].exit_code
    if len({each.code for _, each in failures}) == 1:
        joined.code = failures[0][1].code
    return joined
