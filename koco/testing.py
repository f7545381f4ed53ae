"""Run a flow in a test: in this process, without Ray, and look at everything that it wrote.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

The flow's form checks the inputs, the entrypoint is called as a runner calls it, and its output
is captured as events. Nothing is stored.

If the service has an app, `submit` asks it for the launch, and `run` runs that:

    outcome = testing.run(testing.submit("hello.app:app", {"who": "Ada"}))
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from koco.errors import InputsError, NotFoundError, UsageError
from koco.events import datetimes
from koco.events.model import Kind, Status
from koco.events.questions import OpenLock
from koco.runner.flow import Flow, Run, load_flow
from koco.runner.flows import Orders
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output
from koco.sdk.endpoint.handlers import ERRORS, FAILURE
from koco.sdk.endpoint.launch import Launch
from koco.sdk.entrypoints import loader
from koco.sdk.in_memory import Event, Tracer

#: The user of an execution in a test.
_USER = "tester"

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
    flow: str | Callable[..., Any] | Launch,
    inputs: Any = None,
    *,
    app: Any = None,
    form: list[dict[str, Any]] | None = None,
    files: dict[str, bytes] | None = None,
    answers: Mapping[str, Any] | None = None,
    kodosumi: bool = False,
) -> Outcome:
    """Run a flow to its end.

    Args:
        flow: the entrypoint, as `module:object` or the callable itself; or the launch that
            `submit` returned, which has the inputs, the app and the programming model.
        inputs: the user's inputs, a dict; the form converts strings.
        app: the service's `ServeAPI`, or its name. Its `lock` and `lease` handlers check the
            answers and make what the flow gets of them.
        form: the manifest's `inputs`, if it has some.
        files: the user's uploaded files, by path: `{"in/a.txt": b"…"}`.
        answers: a person's answers by the name of the lock: a value, a list of values to use one
            after the other, or a function of the lock's data. An exception
            (`TimeoutError()`, for example) is raised in the flow. If the app refuses an answer of
            a list, the next one is given, because the lock stays open.
        kodosumi: whether the flow is written for Kodosumi: it gets Kodosumi's tracer, and the
            inputs as they are, of any type. Call `use_kodosumi` before its module is imported.
            `KODOSUMI_FID` and `KODOSUMI_USER_ID` are in the environment meanwhile.

    Raises:
        InputsError: the inputs do not pass the form.
        AssertionError: the flow waits for an answer that the test does not give, or the app
            refuses the answer or fails.
        UsageError: the flow is a handler of an app, or a launch has inputs beside it.
    """
    target: Any = flow
    if _is_launch(target):
        if inputs is not None:
            raise UsageError("the launch has its inputs", hint="give the inputs to `submit`")
        app = getattr(target.request, "app", None) if app is None else app
        found, inputs, kodosumi = _ordered(target)
    else:
        found = _load_kodosumi(target) if kodosumi else load_flow("test", target, form)
    given = inputs if kodosumi else inputs or {}
    if found.form is not None:
        found.form.validate(given)
    served = None if app is None else _serve_api(app)
    tracer = Tracer(files, answers=answers, lease=lambda lock, answer: _lease(served, lock, answer))
    if kodosumi:
        _enter_kodosumi(tracer.fid)
    try:
        outcome = asyncio.run(_run(found, given, tracer))
    finally:
        if kodosumi:
            _leave_kodosumi(tracer.fid)
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
    target = loader.find(flow) if isinstance(flow, str) else flow
    if inspect.isfunction(target):
        asked = inspect.signature(target).parameters.get("request")
        if asked is not None and asked.default is asked.empty:
            raise UsageError(
                f"{target.__qualname__} asks for `request`: it is an app's handler, not a flow",
                hint="`testing.submit(app, inputs, path)` calls it and returns its launch, which"
                " `testing.run` takes for the flow",
            )
    return kodosumi.find("test", flow)


def _is_launch(flow: Any) -> bool:
    return isinstance(flow, Launch) or _is_kodosumis(flow)


def _is_kodosumis(launch: Any) -> bool:
    """Return whether an object is a launch in Kodosumi's model, which is a response, too."""
    return isinstance(getattr(launch, "order", None), dict) and hasattr(launch, "entry_point")


def _ordered(launch: Any) -> tuple[Flow, Any, bool]:
    """Return the flow and the inputs of a launch, and whether it is in Kodosumi's model."""
    if _is_kodosumis(launch):
        return _load_kodosumi(launch.entry_point), launch.inputs, True
    return Orders().flow("test", launch.entrypoint), launch.inputs, False


def _enter_kodosumi(fid: str) -> None:
    from koco.kodosumi import const
    from koco.runner import kodosumi

    if const.ENV_FID not in os.environ:  # else the test has set its own
        kodosumi.enter(fid, _USER)


def _leave_kodosumi(fid: str) -> None:
    from koco.runner import kodosumi

    kodosumi.leave(fid)


def _lease(app: Any, lock: OpenLock, given: Any) -> tuple[Any, datetimes.Moments] | None:
    """Return the flow's value of an answer to a lock; None if no app handles the lock."""
    if app is None or (lock.name not in app.locks and lock.name not in app.leases):
        return None
    # In a thread, because the flow's own loop may be running in this one.
    with ThreadPoolExecutor(1) as threads:
        asking = app.answer(lock.name, inputs=given, data=lock.data, user=_USER)
        answer = threads.submit(asyncio.run, asking).result()
    if answer.kind == ERRORS:
        raise InputsError(**answer.body["errors"])
    if answer.kind == FAILURE:
        raise AssertionError(
            f"the app failed at the lock {lock.name!r}: {answer.body['type']}: "
            f"{answer.body['message']}\n{answer.body['traceback']}"
        )
    return answer.body["value"], answer.body.get("moments", [])


def _serve_api(app: Any) -> Any:
    from koco.sdk.endpoint.serving import serve_api_of

    if isinstance(app, str):
        return serve_api_of(loader.find(app), app)
    return serve_api_of(app, "test:app")


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
    app: Any, inputs: dict[str, Any] | None = None, path: str = "/", *, user: str = _USER
) -> Launch:
    """Ask a service's own endpoint what it would launch, without launching it.

    The form of the `enter` route checks the inputs, and its handler is called. The returned
    launch has the inputs that the flow would get; `run` takes it in place of the flow.

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
    found = _serve_api(app)
    if path not in found.enters:
        known = ", ".join(found.enters) or "none"
        raise NotFoundError(f"the app has no enter route {path!r}", hint=f"it has: {known}")
    launch: Launch = asyncio.run(found.submit(path, inputs or {}, user=user))
    return launch
