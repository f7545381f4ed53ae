"""`koco dev`: deploy at each change into services of one's own, and show what runs there."""

import signal
from typing import Annotated

from koco.cli import connection
from koco.cli.arguments import Env, EnvFiles
from koco.cli.inputs import key_values
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import ndjson, output
from koco.client import context_file
from koco.client.client import Client
from koco.errors import Interrupted, UnreachableError, UsageError


def command(
    manifests: Annotated[
        list[str] | None,
        Argument(
            metavar="[MANIFEST…]", help="The manifests to work on [default: those of koco.toml]."
        ),
    ] = None,
    run: Annotated[
        str | None,
        Option(metavar="FLOW", help="Launch this flow after each deploy."),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        Option("--input", "-i", metavar="KEY=VALUE", help="An input of --run (repeatable)."),
    ] = None,
    file: Annotated[
        str | None,
        Option("--inputs", metavar="FILE", help="Inputs of --run, as JSON or YAML."),
    ] = None,
    env: Env = None,
    env_file: EnvFiles = None,
    as_json: Annotated[
        bool, Option("--json", help="Print deploys and events as NDJSON, without keys.")
    ] = False,
) -> int:
    """Deploy at each save into a service of your own, and follow it.

    Starts koco on this machine if no control plane is known or running here. The service
    `hello` is deployed as `hello~ada`, which nobody else uses and which is removed when you
    leave; `hello` itself stays as it is. A change that breaks shows why, and the next one
    is tried again. At a terminal, r runs the last launch again, l lists, q leaves.

    Example: koco dev --run greet -i who=Ada
    """
    from koco.cli.dev.loop import Loop  # threads and manifests, only for this

    connection.choose_environment(env)
    with ndjson.ending(as_json):
        values = key_values.gather(pairs or (), file)
        if values and run is None:
            raise UsageError("-i and --inputs need --run", hint="such as --run greet -i who=Ada")
        loop = Loop(
            _connect(),
            manifests or [],
            run=run,
            values=values,
            env_files=env_file or [],
            as_json=as_json,
        )
        code = loop.run()
        if as_json and code:
            raise _Ended(code)
        return code


class _Ended(Interrupted):
    """The command was asked to end, by Ctrl-C or a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by {signal.Signals(code - 128).name}")
        self.exit_code = code


def _connect() -> Client:
    """Return a client of a control plane that answers; start one on this machine if none does.

    Raises:
        UnreachableError: another machine's does not answer.
    """
    choice = connection.choice()
    is_ours = choice.name == context_file.LOCAL or (
        choice.name is None and not context_file.load_contexts()
    )
    try:
        client = connection.connect()
        client.me()
        return client
    except UnreachableError:
        if not is_ours:
            raise
    from koco.cli.cluster import local  # psutil, only to start

    output.note(
        "no control plane runs here: starting one, as `koco up` does (`koco down` stops it)"
    )
    local.up({})
    return connection.connect()
