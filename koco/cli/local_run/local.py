"""Run a function of a file in this process, and show its events."""

import getpass
import secrets
from typing import Any, cast

from koco.cli import approvals
from koco.cli.inputs import file_inputs, key_values, prompt
from koco.cli.local_run import declared, loading, source
from koco.cli.local_run.desk import Desk
from koco.cli.local_run.execution import Events, Execution, Kept
from koco.cli.local_run.folder import Folder
from koco.cli.terminal import event_view, output, times
from koco.cli.terminal.event_view import EXIT_CODES, View
from koco.client.client import Client
from koco.errors import (
    AwaitingError,
    ConflictError,
    InputsError,
    KocoError,
    TimedOutError,
)
from koco.runner.flow import Flow


def run(
    named: str,
    pairs: list[str],
    file: str | None,
    *,
    silently: bool,
    timeout_s: float | None,
    as_json: bool,
    no_input: bool,
) -> int:
    """Run a function, follow it, and return the exit code, which is the outcome.

    Raises:
        InputsError: the form refuses the inputs.
        AwaitingError: it waits for a person, and none can be asked.
        DeployError: the file cannot be imported; the detail is the traceback.
    """
    values = key_values.gather(pairs, file)
    found = source.find(named)
    source.make_importable(found)
    about = declared.find(found)
    flow = loading.load(found, about.inputs)
    fid = secrets.token_hex(8)
    files = Folder(fid)
    desk = Desk(fid, found.entrypoint, about, files)
    asks = prompt.can_ask(no_input)
    inputs = _inputs(flow, values, desk, fid, asks=asks, is_bare=not (pairs or file))
    memory = Kept(fid, Events(), desk, by=_user())
    execution = Execution(flow, inputs, memory=memory, desk=desk)
    view = None if silently else View(as_json=as_json)
    _follow(execution, view, desk, timeout_s=timeout_s, asks=asks)
    if silently and as_json:
        _print_result(fid, execution)
    if any(path.startswith("out/") for path in files):
        output.note(f"files: {files.root}/out")
    outcome = execution.outcome
    return KocoError.exit_code if outcome is None else EXIT_CODES[outcome.status]


def _inputs(
    flow: Flow, values: dict[str, Any], desk: Desk, fid: str, *, asks: bool, is_bare: bool
) -> dict[str, Any]:
    """Return inputs that the form accepts, with a person's answers for those that are missing."""
    client = cast("Client", desk)  # it has what these need
    form: Any = flow.form.to_list() if flow.form is not None else None
    if asks and is_bare and form:
        values = prompt.ask(form, values)
    while True:
        inputs = file_inputs.resolve(client, values, fid=fid)
        try:
            if flow.form is not None:
                flow.form.validate(inputs)
            return inputs
        except InputsError as exc:
            if not asks or not form:
                raise
            values = prompt.ask_again(form, values, exc)


def _follow(
    execution: Execution, view: View | None, desk: Desk, *, timeout_s: float | None, asks: bool
) -> None:
    """Show an execution to its end; cancel it if that cannot be reached."""
    try:
        with times.limit(timeout_s, lambda: late(timeout_s)):
            event_view.show(execution.start(), view, on_lock=lambda: _answer(desk, asks=asks))
    except KeyboardInterrupt:
        execution.cancel()
        raise event_view.interrupted("cancelled") from None
    except BaseException:
        execution.cancel()
        raise


def late(timeout_s: float | None) -> TimedOutError:
    """Return the error for an execution that has taken too long."""
    return TimedOutError(f"it has not ended within {timeout_s:g} s, and was cancelled")


def _answer(desk: Desk, *, asks: bool) -> None:
    """Have a person answer the open locks.

    Raises:
        AwaitingError: nobody can be asked.
    """
    client = cast("Client", desk)
    while opened := [each for each in desk.locks_of("") if each["status"] == "open"]:
        lock = desk.lock("", opened[0]["lid"])
        if not asks:
            raise AwaitingError(
                f"it waits for an answer: {lock['name']}",
                hint="run it at a terminal; in a test, `testing.run(…, answers=…)` answers",
            )
        if not output.is_terminal():
            approvals.show(lock)  # the event is not on the terminal
        try:
            approvals.answer(client, lock, approvals.ask(lock), asks=True)
        except ConflictError as exc:  # it took the person too long
            output.note(f"{exc.message}; the execution goes on")


def _print_result(fid: str, execution: Execution) -> None:
    outcome = execution.outcome
    if outcome is None:
        return
    ended: dict[str, Any] = {"fid": fid, "status": str(outcome.status)}
    ended |= {"error": outcome.error} if outcome.error else {"result": outcome.result}
    output.print_ndjson(ended)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a user without a name
        return "you"
