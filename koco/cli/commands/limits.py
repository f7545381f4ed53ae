"""`koco limits`: show and override how many executions of a flow run and wait."""

import sys
from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client.answers import LimitState
from koco.errors import UsageError

#: The word for no limit, in options and in lists.
_NONE = "none"
#: The columns for scripts.
_NAMES: tuple[str, ...] = ("flow", "running", "queue", "manifest_running", "manifest_queue")
_NAMES += ("until_deploy", "by", "since")


def command(
    flow: Annotated[
        str | None,
        Argument(metavar="[FLOW]", help="The flow; all flows if left out.", show_default=False),
    ] = None,
    running: Annotated[
        str | None,
        Option(metavar="N", help="Executions at once; 0 holds all back, none is no limit."),
    ] = None,
    queue: Annotated[
        str | None, Option(metavar="N", help="Executions that may wait; none is no limit.")
    ] = None,
    until_deploy: Annotated[
        bool, Option("--until-deploy", help="Only until the next deploy or rollback.")
    ] = False,
    reset: Annotated[bool, Option("--reset", help="Let the manifest decide again.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the limits as JSON.")] = False,
) -> None:
    """Show the limits of flows, or override those of one.

    A limit that is set counts at once, in place of the manifest's. It stays until --reset,
    also after deploys, unless --until-deploy is given.

    Example: koco limits hello/greet --running 5
    """
    given = {"running": running, "queue": queue}
    new = {name: _count(value, f"--{name}") for name, value in given.items() if value is not None}
    _check(flow, is_changed=bool(new), until_deploy=until_deploy, reset=reset)
    client = connection.connect()
    if flow is None:
        _show(client.limits(), as_json=as_json)
        return
    if reset:
        state = client.reset_limits(flow)
    elif new:
        state = client.set_limits(flow, new, until_deploy=until_deploy)
    else:
        name = client.flow(flow)["name"]
        state = next(each for each in client.limits() if each["flow"] == name)
    if as_json:
        output.print_json(state)
    else:
        _show([state], as_json=False)


def _check(flow: str | None, *, is_changed: bool, until_deploy: bool, reset: bool) -> None:
    if reset and (is_changed or until_deploy):
        raise UsageError("--reset excludes --running, --queue and --until-deploy")
    if flow is None and (is_changed or reset or until_deploy):
        raise UsageError("the limits of which flow?", hint="`koco flows` lists them")
    if until_deploy and not is_changed:
        raise UsageError("--until-deploy needs --running or --queue")


def _count(text: str, option: str) -> int | None:
    if text.lower() == _NONE:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UsageError(f"{option} takes a whole number or {_NONE}, got {text!r}")
    return int(text)


def _show(items: list[LimitState], *, as_json: bool) -> None:
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_table(_NAMES, [_plain(each) for each in items])
    elif items:
        columns = ("FLOW", "RUNNING", "QUEUE", "OVERRIDE")
        output.print_table(columns, [_row(each) for each in items], widest="OVERRIDE")
    else:
        output.note("no flows yet; `koco deploy` deploys some")


def _row(state: LimitState) -> tuple[str, str, str, str]:
    counts = (
        _beside(state["running"], state["manifest"]["running"]),
        _beside(state["queue"], state["manifest"]["queue"]),
    )
    override = state["override"]
    if override is None:
        return (state["flow"], *counts, "-")
    until = ", until the next deploy" if override["until_deploy"] else ""
    at = times.at(override["since"], sys.stdout)
    return (state["flow"], *counts, f"by {override['by']}, {at}{until}")


def _beside(now: int | None, manifest: int | None) -> str:
    return _text(now) if now == manifest else f"{_text(now)} (manifest: {_text(manifest)})"


def _plain(state: LimitState) -> tuple[str, ...]:
    manifest = state["manifest"]
    counts = (state["running"], state["queue"], manifest["running"], manifest["queue"])
    override = state["override"]
    more = ("", "", "")
    if override is not None:
        more = (str(override["until_deploy"]).lower(), override["by"], override["since"])
    return (state["flow"], *map(_text, counts), *more)


def _text(count: int | None) -> str:
    return _NONE if count is None else str(count)
