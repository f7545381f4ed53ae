"""Run a function of a file on the cluster, in a service of one's own that goes when it ends."""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from koco.cli import approvals, connection
from koco.cli.inputs import file_inputs, key_values, prompt
from koco.cli.local_run import source
from koco.cli.local_run.local import late
from koco.cli.local_run.source import Source
from koco.cli.own.services import Services
from koco.cli.terminal import event_view, output, times
from koco.client.client import Client
from koco.errors import InputsError
from koco.manifest.rules import slug
from koco.project.project import Target


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
    """Deploy a function, run it, follow it, remove it, and return the exit code.

    Raises:
        DeployError: it did not become ready; the detail is the traceback.
        InputsError: the form refuses the inputs.
    """
    values = key_values.gather(pairs, file)
    found = source.find(named)
    client = connection.connect()
    services = Services(client)
    try:
        output.note("deploying it into a service of your own…")
        with tempfile.TemporaryDirectory(prefix="koco-run-") as folder:
            targets = services.own([_target(found, Path(folder))])
            [release] = services.deploy(targets)
        flow = f"{release['service']}/{_flow(found)}"
        asks = prompt.can_ask(no_input)
        fid = _launch(client, flow, values, asks=asks, is_bare=not (pairs or file))
        output.note(fid)
        view = None if silently else event_view.View(as_json=as_json)
        offers = approvals.offer_locks if asks else approvals.refuse_locks
        stream = client.stream(fid, follow=True)
        with times.limit(timeout_s, lambda: late(timeout_s)):
            event_view.show(stream, view, on_lock=offers(client, fid))
        if silently and as_json:
            output.print_ndjson(client.result(fid))
        return event_view.EXIT_CODES[stream.status or "error"]
    except KeyboardInterrupt:
        raise event_view.interrupted("cancelled; removing it…") from None
    finally:
        services.remove()


def _flow(found: Source) -> str:
    return slug(found.function) or "run"


def _target(found: Source, folder: Path) -> Target:
    """Return a manifest of one flow, which ships the folder of its file."""
    import yaml  # manifests, only for this

    name = f"{slug(found.file.stem)[:40] or 'run'}-{secrets.token_hex(3)}"
    manifest: dict[str, Any] = {
        "service": name,
        "root": os.path.relpath(found.root, folder.resolve()),
        "flows": [{"name": _flow(found), "entrypoint": found.entrypoint}],
    }
    path = folder / "koco.yaml"
    path.write_text(yaml.safe_dump(manifest), "utf-8")
    return Target(path.resolve())


def _launch(client: Client, flow: str, values: dict[str, Any], *, asks: bool, is_bare: bool) -> str:
    """Launch it, with a person's answers for what is missing or refused."""
    form = client.flow(flow)["form"] if asks else None
    if form and is_bare:
        values = prompt.ask(form, values)
    while True:
        try:
            return client.launch(flow, file_inputs.resolve(client, values))
        except InputsError as exc:
            if not form:
                raise
            values = prompt.ask_again(form, values, exc)
