"""`koco run`: launch a flow."""

import os
from typing import Annotated, Any

from koco.cli import approvals, connection
from koco.cli.approvals import OnLock
from koco.cli.arguments import WEBHOOK_SECRET, Env
from koco.cli.inputs import file_inputs, key_values, prompt
from koco.cli.local_run import source
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import event_view, notify, output, times
from koco.client.answers import Launched, LaunchedWebhook
from koco.client.client import Client, Webhook
from koco.errors import InputsError, UnreachableError, UsageError

#: The options of commands that launch an execution and may follow it.
Follow = Annotated[bool, Option("--follow", "-f", help="Show the events until it ends.")]
Wait = Annotated[bool, Option("--wait", help="Wait silently until it ends.")]
Timeout = Annotated[
    float | None,
    Option(metavar="SECONDS", help="With --follow or --wait: stop waiting after this time."),
]
Key = Annotated[
    str | None,
    Option(
        metavar="TEXT",
        help="An idempotency key: however often you try, it is launched only once."
        " With --each: the column that identifies a line.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print JSON: the fid; with --follow, the events.")]


def command(
    flow: Annotated[
        str,
        Argument(
            metavar="FLOW",
            help="The flow: SERVICE/FLOW, or a name that is unique; or FILE.py:FUNCTION.",
        ),
    ],
    pairs: Annotated[
        list[str] | None,
        Option(
            "--input",
            "-i",
            metavar="KEY=VALUE",
            help="An input (repeatable); KEY=@PATH uploads a file.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        Option(
            "--inputs", metavar="FILE", help="Read inputs from a JSON or YAML file; - is stdin."
        ),
    ] = None,
    env: Env = None,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    each: Annotated[
        str | None,
        Option(
            metavar="FILE", help="Launch it once for each line of a CSV or JSONL file; - is stdin."
        ),
    ] = None,
    parallel: Annotated[
        int, Option(metavar="N", min=1, max=200, help="With --each: how many at once.")
    ] = 8,
    form: Annotated[
        str | None,
        Option("--format", metavar="FORMAT", help="With --each: csv, tsv or jsonl."),
    ] = None,
    results: Annotated[
        str | None,
        Option(
            metavar="FILE",
            show_default=False,
            help="With --each: where the results go [default: FILE.results.jsonl].",
        ),
    ] = None,
    failed: Annotated[
        bool, Option("--failed", help="With --each: also lines that failed before.")
    ] = False,
    is_remote: Annotated[
        bool,
        Option("--remote", help="Run a function of a file on the cluster, not here."),
    ] = False,
    webhook: Annotated[
        str | None,
        Option(metavar="URL", help="Have a URL told when it ends, or waits for a person's answer."),
    ] = None,
    no_input: Annotated[bool, Option("--no-input", help=prompt.NO_INPUT)] = False,
    notifies: Annotated[
        bool,
        Option(
            "--notify", help="With --follow or --wait: ring the bell and tell the desktop then."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Launch a flow, and print the fid of the new execution.

    Inputs of -i override those of the file. A terminal asks for each field of the flow's
    form if no inputs are given, else only for those that are missing or refused. With
    --follow or --wait the exit code is the outcome: 0 finished, 1 error, 7 cancelled. If
    the execution waits for a person's answer, --follow offers to answer at a terminal, and
    --wait --no-input exits with 8.

    With --each, the flow is launched for each line of a file, and the results are written
    beside it. After an interruption, the same command goes on.

    A function of a file is run in this process, without a manifest or a control plane, and
    followed to its end: koco run ./hello.py:greet -i who=Ada. With --remote it runs on the
    cluster, in a service of your own that is removed afterwards.

    Example: koco run hello/greet -i who=Ada -f
    """
    check(follow=follow, wait=wait, timeout=timeout)
    connection.choose_environment(env)
    if notifies and not (follow or wait):
        raise UsageError("--notify needs --follow or --wait")
    if is_remote or source.is_named(flow):
        _refuse_beside_source(flow, {"--key": key, "--each": each, "--webhook": webhook})
        return _run_source(
            flow,
            pairs or [],
            file,
            is_remote=is_remote,
            silently=wait,
            timeout_s=timeout,
            as_json=as_json,
            no_input=no_input,
        )
    values = key_values.gather(pairs or (), file)
    if each is not None:
        from koco.cli.many import each as launches  # csv and threads, only for this
        from koco.cli.many import wish  # with the formats, only for this

        wish.refuse(follow=follow or wait, webhook=webhook is not None)
        return launches.run(
            wish.Wish(
                flow,
                each,
                common=values,
                format=wish.read_format(form),
                parallel=parallel,
                column=key,
                results=results,
                again=failed,
                as_json=as_json,
            )
        )
    client = connection.connect()
    asks = prompt.can_ask(no_input)
    launched = _launch(
        client, flow, values, key=key, asks=asks, is_bare=not (pairs or file), webhook=webhook
    )
    return show_launched(
        client,
        launched["result"],
        follow=follow,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        no_input=no_input,
        notifies=notifies,
        webhook=launched.get("webhook"),
    )


def _refuse_beside_source(flow: str, options: dict[str, str | None]) -> None:
    """Raise `UsageError` for what does not go with a function of a file."""
    if not source.is_named(flow):
        raise UsageError(
            f"--remote runs a function of a file, and {flow!r} is a flow",
            hint="a flow always runs on the cluster; leave out --remote",
        )
    for option, value in options.items():
        if value is not None:
            raise UsageError(
                f"{option} needs a deployed flow", hint="`koco dev` deploys while you work"
            )


def _run_source(flow: str, *args: Any, is_remote: bool, **options: Any) -> int:
    if is_remote:
        from koco.cli.local_run import remote  # manifests, only for this

        return remote.run(flow, *args, **options)
    from koco.cli.local_run import local  # the runner's parts, only for this

    return local.run(flow, *args, **options)


def check(*, follow: bool, wait: bool, timeout: float | None) -> None:
    """Raise `UsageError` for options that exclude or need each other."""
    times.check(timeout)
    if timeout is not None and not (follow or wait):
        raise UsageError("--timeout needs --follow or --wait")
    if follow and wait:
        raise UsageError("--follow and --wait exclude each other")


def show_launched(
    client: Client,
    fid: str,
    *,
    follow: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    no_input: bool = False,
    notifies: bool = False,
    webhook: LaunchedWebhook | None = None,
) -> int:
    """Print a new execution's fid, then follow it or wait for it if requested."""
    _print_fid(fid, webhook, as_json=as_json, follow=follow)
    if not (follow or wait):
        return 0
    on_lock = _on_lock(client, fid, follow=follow, no_input=no_input)
    if notifies and on_lock is not None:
        on_lock = approvals.notify_locks(client, fid, on_lock)
    code = _until_end(
        client, fid, silently=wait, timeout_s=timeout, as_json=as_json, on_lock=on_lock
    )
    if notifies:
        [status] = (name for name, its in event_view.EXIT_CODES.items() if its == code)
        notify.notify("koco", f"{fid} has ended: {status}")
    return code


def _launch(
    client: Client,
    flow: str,
    values: dict[str, Any],
    *,
    key: str | None,
    asks: bool,
    is_bare: bool,
    webhook: str | None,
) -> Launched:
    """Launch with the given inputs, and at a terminal with those that a person is asked for."""
    found = client.flow(flow) if asks and is_bare else None
    is_complete = bool(found and found["form"])
    if found and found["form"]:
        values = prompt.ask(found["form"], values, as_browser=prompt.is_browser_like(found))
    while True:
        try:
            return _send(
                client, flow, values, key=key, is_prefilled=not is_complete, webhook=webhook
            )
        except InputsError as exc:
            exc.hint = exc.hint or f"`koco flows {flow}` shows its inputs"
            found = found or (client.flow(flow) if asks else None)
            if not found or not found["form"]:
                raise
            as_browser = prompt.is_browser_like(found)
            values = prompt.ask_again(found["form"], values, exc, as_browser=as_browser)
            if as_browser and not is_complete:  # blank fields must stay blank
                values = {**dict.fromkeys(exc.errors, ""), **values}


def _send(
    client: Client,
    flow: str,
    values: dict[str, Any],
    *,
    key: str | None,
    is_prefilled: bool,
    webhook: str | None,
) -> Launched:
    inputs = file_inputs.resolve(client, values)
    told = None if webhook is None else Webhook(webhook, secret=os.environ.get(WEBHOOK_SECRET, ""))
    try:
        return client.launch_with(flow, inputs, key=key, is_prefilled=is_prefilled, webhook=told)
    except UnreachableError as exc:
        if key is not None:
            exc.hint = f"{exc.hint}; it is safe to try again with the same --key"
        raise


def _print_fid(fid: str, webhook: LaunchedWebhook | None, *, as_json: bool, follow: bool) -> None:
    if webhook is not None and (follow or not as_json):
        output.note(f"the webhook's secret, which is shown only once: {webhook['secret']}")
    if follow:
        output.note(fid)  # stdout is for the events
    elif as_json:
        output.print_ndjson({"fid": fid, **({"webhook": webhook} if webhook else {})})
    else:
        output.print_line(fid)
        output.flush()


def _on_lock(client: Client, fid: str, *, follow: bool, no_input: bool) -> OnLock | None:
    """Return the function to call when the execution waits for a person's answer."""
    if follow:
        return approvals.offer_locks(client, fid) if prompt.can_ask(no_input) else None
    return approvals.refuse_locks(client, fid) if no_input else approvals.report_locks(client, fid)


def _until_end(
    client: Client,
    fid: str,
    *,
    silently: bool,
    timeout_s: float | None,
    as_json: bool,
    on_lock: OnLock | None,
) -> int:
    view = None if silently else event_view.View(as_json=as_json)
    kinds = ("status",) if silently else ()
    events = client.stream(fid, kinds=kinds, follow=True)
    status = event_view.follow(events, view, timeout_s=timeout_s, on_lock=on_lock)
    if silently and as_json:
        output.print_ndjson(client.result(fid))
    return event_view.EXIT_CODES[status]
