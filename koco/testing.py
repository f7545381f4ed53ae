"""Run a flow in a test: in this process, without Ray, and look at everything that it wrote.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

The flow's form checks the inputs, the entrypoint is called as a runner calls it, and its output
is captured as events. Nothing is stored.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from koco.errors import NotFoundError
from koco.events.model import Kind, Status
from koco.runner.flow import Flow, Run, load_flow
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output
from koco.sdk.endpoint.launch import Launch
from koco.sdk.entrypoints import loader
from koco.sdk.in_memory import Event, Tracer

__all__ = ["Event", "Outcome", "Tracer", "run", "submit", "use_kodosumi"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: its `result` if it finished, or else `error` (type, message, traceback)."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    #: The files in `out/` at the end, by path.
    files: dict[str, bytes] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[Any]:
        """Return the payloads of the events of a kind."""
        return [event.payload for event in self.events if event.kind == kind]


def run(
    flow: str | Callable[..., Any],
    inputs: Any = None,
    *,
    form: list[dict[str, Any]] | None = None,
    files: dict[str, bytes] | None = None,
    answers: Mapping[str, Any] | None = None,
    kodosumi: bool = False,
) -> Outcome:
    """Run a flow to its end.

    Args:
        flow: the entrypoint, as `module:object` or the callable itself.
        inputs: the user's inputs, a dict; the form converts strings.
        form: the manifest's `inputs`, if it has some.
        files: the user's uploaded files, by path: `{"in/a.txt": b"…"}`.
        answers: a person's answers by the name of the lock: a value, a list of values to use one
            after the other, or a function of the lock's data. An exception
            (`TimeoutError()`, for example) is raised in the flow.
        kodosumi: whether the flow is written for Kodosumi: it gets Kodosumi's tracer, and the
            inputs as they are, of any type. Call `use_kodosumi` before its module is imported.

    Raises:
        InputsError: the inputs do not pass the form.
        AssertionError: the flow waits for an answer that the test does not give.
    """
    found = _load_kodosumi(flow) if kodosumi else load_flow("test", flow, form)
    given = inputs if kodosumi else inputs or {}
    if found.form is not None:
        found.form.validate(given)
    tracer = Tracer(files, answers=answers)
    try:
        outcome = asyncio.run(_run(found, given, tracer))
    finally:
        if kodosumi:
            _remove_downloads(tracer.fid)
    for failure in tracer.failures:
        raise AssertionError(failure)
    return outcome


def use_kodosumi() -> None:
    """Let `import kodosumi` find `koco.kodosumi`, as in a release with `runtime.kodosumi: true`.

    Call it before the service's modules are imported: at the top of a `conftest.py`, for example.
    The real package comes first if it is installed.
    """
    from koco.sdk import import_alias

    import_alias.install()


def _load_kodosumi(flow: str | Callable[..., Any]) -> Flow:
    from koco.runner import kodosumi

    use_kodosumi()
    return kodosumi.find("test", flow)


def _remove_downloads(fid: str) -> None:
    from koco.kodosumi import files

    files.remove_downloads(fid)


async def _run(flow: Flow, inputs: Any, tracer: Tracer) -> Outcome:
    output = Output(tracer.note)
    stdout, stderr = sys.stdout, sys.stderr
    capture = Capture(dedicated=False)
    capture.install()
    try:
        loop = asyncio.get_running_loop()
        traced = flow.trace(tracer)
        ended = await Run(flow, inputs, tracer=traced, output=output, loop=loop).outcome()
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    capture.end(output)
    if ended.kind is not None:
        tracer.note(ended.kind, ended.payload)
    last = tracer.events[-1].payload if ended.kind is not None else None
    is_final = ended.kind is Kind.FINAL
    return Outcome(
        ended.status,
        last if is_final else None,
        None if is_final else last,
        tracer.events,
        {path: data for path, data in tracer.files.items() if path.startswith("out/")},
    )


def submit(
    app: Any, inputs: dict[str, Any] | None = None, path: str = "/", *, user: str = "tester"
) -> Launch:
    """Ask a service's own endpoint what it would launch, without launching it.

    The form of the `enter` route checks the inputs, and its handler is called. The returned
    launch has the inputs that the flow would get.

    Args:
        app: the `ServeAPI`, or its name as in the manifest's `app`: `module:object`.
        inputs: the user's inputs.
        path: the route.
        user: the `request.state.user` that the handler sees.

    Raises:
        InputsError: the form or the handler refuses the inputs.
        NotFoundError: there is no such route.
        UsageError: the handler returned no `Launch`.
        DeployError: there is no such app, or the entrypoint of the launch does not exist.
        Exception: anything else that the handler raises.
    """
    from koco.sdk.endpoint.serving import serve_api_of

    path_of_app = app if isinstance(app, str) else "test:app"
    found = serve_api_of(loader.find(app) if isinstance(app, str) else app, path_of_app)
    if path not in found.enters:
        known = ", ".join(found.enters) or "none"
        raise NotFoundError(f"the app has no enter route {path!r}", hint=f"it has: {known}")
    launch: Launch = asyncio.run(found.submit(path, inputs or {}, user=user))
    return launch
