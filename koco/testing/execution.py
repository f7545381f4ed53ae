"""Run a flow to its end in this process."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

from koco.events.model import Kind
from koco.runner.flow import Flow, Run
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output
from koco.sdk.endpoint.launch import Launch
from koco.sdk.in_memory import Tracer
from koco.testing import apps, entrypoints
from koco.testing.outcome import Outcome


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
    if app is None and entrypoints.is_launch(target):
        app = getattr(target.request, "app", None)
    found, given, kodosumi = entrypoints.find(target, inputs, form, kodosumi=kodosumi)
    served = None if app is None else apps.find(app)
    tracer = Tracer(
        files, answers=answers, lease=lambda lock, answer: apps.lease(served, lock, answer)
    )
    if kodosumi:
        entrypoints.enter_kodosumi(tracer.fid)
    try:
        outcome = asyncio.run(_run(found, given, tracer))
    finally:
        if kodosumi:
            entrypoints.leave_kodosumi(tracer.fid)
    for failure in tracer.failures:
        raise AssertionError(failure)
    return outcome


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
