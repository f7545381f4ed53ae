"""`koco doctor`: is it well, from this machine to the runners, and what to do where not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koco.client.context_file import Context
    from koco.client.probe import Finding

#: How long the control plane may take over its own looks (seconds); each has five.
_EXAMINED_S = 20.0
#: The width of the columns before the message.
_STATUS, _NAME = 9, 16


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each finding as one line of JSON.")
    ] = False,
) -> None:
    """Look at this machine, the way to the control plane, and all that it needs to run flows.

    Each finding is ok, a warning, or failed, with what to do about it. An event is sent
    from end to end as proof. The exit code is 1 where something failed. It works where
    nothing else does, and nothing makes it wait: each look has a deadline.

    Example: koco doctor
    """
    from koco.cli.terminal import ndjson
    from koco.errors import KocoError

    failed = count = 0
    with ndjson.ending(as_json):
        for finding in _findings():
            _tell(finding, as_json=as_json)
            failed += finding.status == "failed"
            count += 1
        if failed:
            raise KocoError(f"{failed} of {count} findings failed")


def _findings() -> Iterator["Finding"]:
    """Yield all findings, as they are made; what makes further ones senseless is the last."""
    from koco.client import probe

    yield _client()
    yield _contexts()
    context, finding = _context()
    yield finding
    if context is None:
        return
    for step in probe.way(context):
        yield step
        if step.name == probe.LAST:
            yield from _examined(context)


def _client() -> "Finding":
    import platform
    from importlib.util import find_spec

    from koco import __version__
    from koco.client.probe import OK, Finding

    ray = "with Ray" if find_spec("ray") else "without Ray"
    python = f"Python {platform.python_version()}"
    return Finding("client", OK, f"koco {__version__}, {python}, {ray}, {platform.platform()}")


def _contexts() -> "Finding":
    from koco.client import context_file
    from koco.client.probe import FAILED, OK, Finding
    from koco.errors import UsageError

    path = context_file.contexts_path()
    try:
        contexts = context_file.load_contexts()
    except UsageError as exc:
        return Finding("config", FAILED, exc.message, exc.hint)
    names = ", ".join(contexts) or "no contexts yet"
    return Finding("config", OK, f"{path}: {names}")


def _context() -> tuple["Context | None", "Finding"]:
    from koco import tokens
    from koco.cli import connection
    from koco.client.probe import FAILED, OK, WARNING, Finding
    from koco.errors import KocoError

    try:
        context, choice = connection.context(), connection.choice()
    except KocoError as exc:
        return None, Finding("context", FAILED, exc.message, exc.hint)
    what = f"{context.name}, {context.url}, as {choice.said_by} says"
    if not context.key:
        hint = "`koco login` saves one, KOCO_KEY gives one"
        return context, Finding("context", WARNING, f"{what}; without a key", hint)
    return context, Finding("context", OK, f"{what}; key {tokens.mask(context.key)}")


def _examined(context: "Context") -> Iterator["Finding"]:
    """Yield what the control plane's own doctor finds."""
    from koco.client.client import Client
    from koco.client.probe import FAILED, WARNING, Finding, within
    from koco.errors import KocoError, NotAllowedError, NotFoundError, UnauthorizedError

    try:
        answer = within(
            _EXAMINED_S, lambda: Client(context, away_s=0.0).doctor(timeout_s=_EXAMINED_S)
        )
    except UnauthorizedError as exc:
        yield Finding("key", FAILED, exc.message, exc.hint)
    except NotAllowedError as exc:
        yield Finding("key", WARNING, f"it may not look any further: {exc.message}", exc.hint)
    except NotFoundError:
        what = "the control plane is of an older koco, which has no doctor"
        yield Finding("version", WARNING, what, "`koco up` of this version upgrades it")
    except KocoError as exc:
        yield Finding("control plane", FAILED, exc.message, exc.hint)
    else:
        yield _versions(str(answer.get("version")))
        for item in answer["items"]:
            yield Finding(*(item.get(name) for name in ("name", "status", "message", "hint")))


def _versions(theirs: str) -> "Finding":
    from koco import __version__
    from koco.client.probe import OK, WARNING, Finding

    if theirs == __version__:
        return Finding("version", OK, "this koco and the control plane's are the same")
    what = f"this koco is {__version__}, the control plane's {theirs}"
    hint = f"`pip install koco=={theirs}` here, or `koco up` of this version there"
    return Finding("version", WARNING, what, hint)


def _tell(finding: "Finding", *, as_json: bool) -> None:
    from koco.cli.terminal import ndjson, output
    from koco.tokens import mask_all

    message, hint = mask_all(finding.message), finding.hint and mask_all(finding.hint)
    if as_json:
        told = {"name": finding.name, "status": finding.status, "message": message, "hint": hint}
        ndjson.emit("check", told)
        return
    indent = _STATUS + _NAME
    rows = output.wrapped(message, indent=indent)
    if hint:
        rows += output.wrapped(f"hint: {hint}", indent=indent)
    first, *rest = rows
    padding = " " * (_STATUS - len(finding.status))
    style = _styles()[finding.status]
    output.print_styled(finding.status, style, f"{padding}{finding.name:<{_NAME}}{first}")
    for row in rest:
        output.print_line(f"{'':{indent}}{row}")
    output.flush()


def _styles() -> dict[str, str]:
    from koco.cli.terminal import output

    return {"ok": output.GREEN, "warning": output.YELLOW, "failed": output.RED}
