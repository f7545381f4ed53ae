"""`koco run`: launch a flow."""

from typing import Annotated, Any

import typer

from koco.cli.inputs import prompt

#: The options of whatever launches, and may go on to follow what it has launched.
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show the events until it ends.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait silently until it ends.")]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="With --follow or --wait: wait no longer than that."),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="An idempotency key: launched once, however often it is tried under it.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: the fid; with --follow, the events.")
]


def command(
    flow: Annotated[
        str,
        typer.Argument(
            metavar="FLOW", help="The flow: service/flow, or its own name where that is unique."
        ),
    ],
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="KEY=VALUE", help="An input; repeatable; KEY=@PATH is a file."
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--inputs", metavar="FILE", help="JSON or YAML with the inputs; - is stdin."),
    ] = None,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    no_input: Annotated[bool, typer.Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Json = False,
) -> int:
    """Launch a flow and print the execution's id, the fid.

    With --follow or --wait the exit code is the outcome: 0 finished, 1 error,
    7 cancelled. Inputs given by -i go over those of the file. At a terminal, where
    none are given, the flow's form is asked for field by field; where some are, what
    the form misses or refuses. There --follow also offers to answer what the execution
    asks a person; --wait --no-input gives up then, with exit code 8.

    Example: koco run hello/greet -i who=Ada -f
    """
    from koco.cli import connection
    from koco.cli.inputs import key_values

    check(follow=follow, wait=wait, timeout=timeout)
    values = key_values.gather(pairs or (), file)
    client = connection.connect()
    asks = prompt.can_ask(no_input)
    fid = _launch(client, flow, values, key=key, asks=asks, is_bare=not (pairs or file))
    return launched(
        client,
        fid,
        follow=follow,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        no_input=no_input,
    )


def check(*, follow: bool, wait: bool, timeout: float | None) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: it says which.
    """
    from koco.cli.terminal import times
    from koco.errors import UsageError

    times.check(timeout)
    if timeout is not None and not (follow or wait):
        raise UsageError("--timeout needs --follow or --wait")
    if follow and wait:
        raise UsageError("--follow waits already: leave out --wait")


def launched(
    client: Any,
    fid: str,
    *,
    follow: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    no_input: bool = False,
) -> int:
    """Tell of an execution that was launched; where that is asked for, until it ends."""
    _tell(fid, as_json=as_json, follow=follow)
    if not (follow or wait):
        return 0
    on_lock = _on_lock(client, fid, follow=follow, no_input=no_input)
    return _until_end(
        client, fid, silently=wait, timeout_s=timeout, as_json=as_json, on_lock=on_lock
    )


def _launch(
    client: Any, flow: str, values: dict[str, Any], *, key: str | None, asks: bool, is_bare: bool
) -> str:
    """Launch with what is given and, at a terminal, with what is asked for."""
    from koco.errors import InputsError

    form = client.flow(flow).get("form") if asks and is_bare else None
    if form:
        values = prompt.ask(form, values)
    while True:
        try:
            return _sent(client, flow, values, key=key)
        except InputsError as exc:
            exc.hint = exc.hint or f"`koco flows {flow}` shows its inputs"
            form = form or (client.flow(flow).get("form") if asks else None)
            if not form:
                raise
            values = prompt.ask_again(form, values, exc)


def _sent(client: Any, flow: str, values: dict[str, Any], *, key: str | None) -> str:
    from koco.cli.inputs import file_inputs
    from koco.errors import UnreachableError

    inputs = file_inputs.resolve(client, values)
    try:
        fid: str = client.launch(flow, inputs, key=key)
    except UnreachableError as exc:
        if key is not None:
            exc.hint = f"{exc.hint}; with the same --key it is safe to try again"
        raise
    return fid


def _tell(fid: str, *, as_json: bool, follow: bool) -> None:
    from koco.cli.terminal import output

    if follow:
        output.note(fid)  # stdout is the flow's
    elif as_json:
        output.print_ndjson({"fid": fid})
    else:
        output.print_line(fid)
        output.flush()


def _on_lock(client: Any, fid: str, *, follow: bool, no_input: bool) -> Any:
    """Return what is done when the execution awaits a person."""
    from koco.cli import approvals

    if follow:
        return approvals.offering(client, fid) if prompt.can_ask(no_input) else None
    return approvals.refusing(client, fid) if no_input else approvals.noting(client, fid)


def _until_end(
    client: Any,
    fid: str,
    *,
    silently: bool,
    timeout_s: float | None,
    as_json: bool,
    on_lock: Any,
) -> int:
    from koco.cli.terminal import event_view, output

    view = None if silently else event_view.View(as_json=as_json)
    kinds = ("status",) if silently else ()
    events = client.stream(fid, kinds=kinds, follow=True)
    status = event_view.follow(events, view, timeout_s=timeout_s, on_lock=on_lock)
    if silently and as_json:
        output.print_ndjson(client.result(fid))
    return event_view.OUTCOMES[status]
