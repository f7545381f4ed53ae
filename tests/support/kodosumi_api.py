"""The API with Kodosumi's routes, over a real socket, without Ray: one service with two flows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import FailureEvent, NewExecution
from tests.support.api_server import Api, serving
from tests.support.kodosumi_client import KodosumiClient
from tests.support.releases import flow
from tests.support.whole_api import MANIFEST, complete

FORM: list[dict[str, Any]] = [
    {"type": "markdown", "text": "# Greet"},
    {"type": "text", "name": "who", "label": "Who", "required": True},
    {"type": "number", "name": "times", "value": 2, "step": 1},
    {"type": "boolean", "name": "loud", "value": True},
    {"type": "select", "name": "tone", "option": ["kind", "harsh"]},
    {"type": "password", "name": "token"},
    {"type": "file", "name": "notes", "multiple": True},
    {"type": "submit", "text": "Go"},
]
#: The path of the flow with that form.
GREET = "/-/localhost/8001/svc/-/greet"
LOCK_FORM = [
    {"type": "boolean", "name": "ok", "value": True},
    {"type": "text", "name": "why", "required": True},
]


@contextmanager
def serving_kodosumi(data_dir: Path) -> Iterator[Api]:
    """Serve both APIs; the keys are `ada`, `bob`, `reader` and `dora`, an admin."""
    given = {
        **MANIFEST,
        "flows": [{"name": "greet", "entrypoint": "m:f"}, {"name": "flow", "entrypoint": "m:f"}],
        "locks": {"review": LOCK_FORM},
    }
    flows = [
        flow(
            "greet",
            form=FORM,
            summary="Greeter",
            description="Greets people",
            author="Ada Lovelace",
            organization="Analytical",
            version="1.0",
            tags=("hello", "demo"),
        ),
        flow("flow", tags=("demo",)),
    ]
    with serving(data_dir) as api:
        api.call(complete(api, given=given, flows=flows))
        api.parts.settings.kodosumi_api = True
        api.admit("dora", "admin")
        api.admit("reader", "read")
        api.admit("narrow", "read", "launch", flows=("other/*",))
        yield api


@contextmanager
def client_of(api: Api, key: str = "ada") -> Iterator[KodosumiClient]:
    """Return a client of Kodosumi's API."""
    client = KodosumiClient(api.url, key)
    try:
        yield client
    finally:
        client.close()


def execute(
    api: Api,
    *events: tuple[Kind, Any],
    user: str = "ada",
    final: Any = None,
    error: FailureEvent | None = None,
    ends: bool = True,
    **more: Any,
) -> str:
    """Make an execution with events; it ends with a result or an error, or goes on."""
    store, spooler = api.parts.store, api.parts.spooler
    given = {"flow": "svc/greet", "service": "svc", "release": 2, "inputs": {"who": "Bo"}}
    new = NewExecution(**{**given, "user": user, "tags": ("hello",), **more})

    async def make() -> str:
        execution, _ = await store.executions.create(new)
        fid: str = execution.fid
        await _begin(store, fid)
        lines = [line.encode(kind, payload) for kind, payload in events]
        batches = [_batch(fid, 2, lines, None)] if lines else []
        if ends and error is None:
            over = [line.encode(Kind.FINAL, final)]  # the store adds the status
            batches.append(_batch(fid, 2 + len(lines), over, Status.FINISHED))
        await store.events.append(batches)
        if error is not None:
            await store.executions.settle(fid, Status.ERROR, error)
        spooler.wake(fid)
        return fid

    made: str = api.call(make())
    return made


def begin(api: Api, fid: str) -> None:
    """Let an execution run that was launched."""
    api.call(_begin(api.parts.store, fid))


async def _begin(store: Any, fid: str) -> None:
    await store.executions.assign(fid, "r")
    running = [line.encode(Kind.STATUS, {"status": Status.RUNNING})]
    await store.events.append([_batch(fid, 1, running, Status.RUNNING)])


def _batch(fid: str, first: int, lines: list[bytes], status: Status | None) -> Batch:
    body = b"\n".join(lines)
    return Batch(fid, "p", first, len(lines), body, runner="r", status=status)
