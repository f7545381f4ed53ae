"""`koco doctor`: check everything from this machine to the runners."""

import platform
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated

from koco import __version__
from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import ndjson, output
from koco.client import context_file, probe
from koco.client.client import Client
from koco.client.context_file import Context
from koco.client.probe import FAILED, OK, WARNING, Finding
from koco.errors import KocoError, NotAllowedError, NotFoundError, UnauthorizedError, UsageError
from koco.tokens import mask, mask_all

#: The deadline for all checks of the control plane (seconds); each of them has five.
_DOCTOR_S = 20.0
#: The widths of the columns before the message.
_STATUS, _NAME = 9, 16

_STYLES = {"ok": output.GREEN, "warning": output.YELLOW, "failed": output.RED}


def command(
    as_json: Annotated[
        bool, Option("--json", help="Print each finding as one line of JSON.")
    ] = False,
) -> None:
    """Check this machine, the connection and the control plane.

    Each finding is ok, a warning or failed, with a hint about what to do. As a proof, an
    event is sent from end to end. The exit code is 1 if something failed. Every check has a
    deadline, so the command ends even if nothing else works.

    Example: koco doctor
    """
    failed = count = 0
    with ndjson.ending(as_json):
        for finding in _findings():
            _print(finding, as_json=as_json)
            failed += finding.status == "failed"
            count += 1
        if failed:
            raise KocoError(f"{failed} of {count} checks failed")


def _findings() -> Iterator[Finding]:
    """Yield the findings as they are made, up to one after which no other makes sense."""
    yield _client()
    yield _contexts()
    context, finding = _context()
    yield finding
    if context is None:
        return
    for step in probe.way(context):
        yield step
        if step.name == probe.LAST:
            yield from _ask_control_plane(context)


def _client() -> Finding:
    ray = "with Ray" if find_spec("ray") else "without Ray"
    python = f"Python {platform.python_version()}"
    return Finding("client", OK, f"koco {__version__}, {python}, {ray}, {platform.platform()}")


def _contexts() -> Finding:
    path = context_file.contexts_path()
    try:
        contexts = context_file.load_contexts()
    except UsageError as exc:
        return Finding("config", FAILED, exc.message, exc.hint)
    names = ", ".join(contexts) or "no contexts yet"
    return Finding("config", OK, f"{path}: {names}")


def _context() -> tuple[Context | None, Finding]:
    try:
        context, choice = connection.context(), connection.choice()
    except KocoError as exc:
        return None, Finding("context", FAILED, exc.message, exc.hint)
    what = f"{context.name}, {context.url}, as {choice.said_by} says"
    if not context.key:
        hint = "`koco login` saves one, or set KOCO_KEY"
        return context, Finding("context", WARNING, f"{what}; without a key", hint)
    return context, Finding("context", OK, f"{what}; key {mask(context.key)}")


def _ask_control_plane(context: Context) -> Iterator[Finding]:
    """Yield the findings of the control plane's own doctor."""
    try:
        answer = probe.within(
            _DOCTOR_S, lambda: Client(context, away_s=0.0).doctor(timeout_s=_DOCTOR_S)
        )
    except UnauthorizedError as exc:
        yield Finding("key", FAILED, exc.message, exc.hint)
    except NotAllowedError as exc:
        yield Finding("key", WARNING, f"it does not permit further checks: {exc.message}", exc.hint)
    except NotFoundError:
        what = "the control plane has an older koco, which cannot check itself"
        yield Finding("version", WARNING, what, "`koco up` of this version upgrades it")
    except KocoError as exc:
        yield Finding("control plane", FAILED, exc.message, exc.hint)
    else:
        yield _versions(str(answer.get("version")))
        for item in answer["items"]:
            yield Finding(item["name"], item["status"], item["message"], item.get("hint"))


def _versions(theirs: str) -> Finding:
    if theirs == __version__:
        return Finding("version", OK, "this koco and the control plane's are the same")
    what = f"this koco is {__version__}, the control plane's {theirs}"
    hint = f"install koco {theirs} here, or run `koco up` of this version there"
    return Finding("version", WARNING, what, hint)


def _print(finding: Finding, *, as_json: bool) -> None:
    message, hint = mask_all(finding.message), finding.hint and mask_all(finding.hint)
    if as_json:
        facts = {"name": finding.name, "status": finding.status, "message": message, "hint": hint}
        ndjson.emit("check", facts)
        return
    indent = _STATUS + _NAME
    rows = output.wrapped(message, indent=indent)
    if hint:
        rows += output.wrapped(f"hint: {hint}", indent=indent)
    first, *rest = rows
    padding = " " * (_STATUS - len(finding.status))
    output.print_styled(
        finding.status, _STYLES[finding.status], f"{padding}{finding.name:<{_NAME}}{first}"
    )
    for row in rest:
        output.print_line(f"{'':{indent}}{row}")
    output.flush()
