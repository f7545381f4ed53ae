"""Run a flow to its end in this process."""

import asyncio
import copy
import sys
from _thread import get_ident
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from koco.events.model import Kind
from koco.events.steps import marks_of
from koco.runner.flow import Flow, Run
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output
from koco.runner.output.replay import Replay
from koco.sdk.endpoint.launch import Launch
from koco.sdk.in_memory import Tracer
from koco.sdk.in_memory.tracer import Process
from koco.sdk.steps import places
from koco.testing import apps, entrypoints, history
from koco.testing.crashes import Crashes
from koco.testing.outcome import Outcome, step_of


def run(
    flow: str | Callable[..., Any] | Launch,
    inputs: Any = None,
    *,
    app: Any = None,
    form: list[dict[str, Any]] | None = None,
    files: dict[str, bytes] | None = None,
    answers: Mapping[str, Any] | None = None,
    messages: Mapping[str, Any] | None = None,
    children: Mapping[str, Any] | None = None,
    crash_after: str | Sequence[str] | None = None,
    kodosumi: bool = False,
) -> Outcome:
    """Run a flow to its end.

    What it records is kept in memory, and its sleeps and the pauses between the attempts of a step
    are over at once. Each run is an execution with an id of its own.

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
        messages: the messages that `tracer.receive` returns, by name: one, or a list of them, one
            after the other. If there is none left, a timeout is over at once.
        children: what other flows return, by `service/flow`: a value, a function of the inputs, or
            an exception, which becomes the error of that flow.
        crash_after: after which recorded outcomes the process crashes, as by `kill -9`, and the
            flow is resumed in another one: the name of a step (`"fetch"`: its first outcome), a key
            (`"fetch:2"`, `"sleep:0"`, `"lock.review:0"`), several of them, or `"*"` for all, one
            after the other. `finally` blocks run at a crash, but can record nothing.
        kodosumi: whether the flow is written for Kodosumi: it gets Kodosumi's tracer, and the
            inputs as they are, of any type. Call `use_kodosumi` before its module is imported.
            `KODOSUMI_FID` and `KODOSUMI_USER_ID` are in the environment meanwhile.

    Raises:
        InputsError: the inputs do not pass the form.
        AssertionError: the flow waits for an answer, a message or another flow that the test does
            not have, the app refuses the answer or fails, or `crash_after` names an outcome that
            was not recorded.
        NonDeterministic: the resumed flow did something else than what it had recorded.
        UsageError: the flow is a handler of an app, or a launch has inputs beside it.
    """
    target: Any = flow
    if app is None and entrypoints.is_launch(target):
        app = getattr(target.request, "app", None)
    found, given, kodosumi = entrypoints.find(target, inputs, form, kodosumi=kodosumi)
    served = None if app is None else apps.find(app)
    tracer = Tracer(
        files,
        answers=answers,
        messages=messages,
        children=children,
        lease=lambda lock, answer: apps.lease(served, lock, answer),
    )
    crashes = Crashes(crash_after)
    if kodosumi:
        entrypoints.enter_kodosumi(tracer.fid)
    try:
        outcome = _run_to_the_end(found, given, tracer, crashes)
    finally:
        if kodosumi:
            entrypoints.leave_kodosumi(tracer.fid)
    crashes.check()
    return outcome


def _run_to_the_end(flow: Flow, inputs: Any, tracer: Tracer, crashes: Crashes) -> Outcome:
    """Run a flow in one process after the other, until one does not crash."""
    resumed = 0
    while True:
        process = Process(tracer.memory, crashes)
        front = Replay(process)
        front.load(marks_of(tracer.memory.lines))
        resuming = Tracer.of(tracer.memory, process, files=tracer.files, sink=front)
        outcome = asyncio.run(attempt(flow, _copied(inputs), resuming, front))
        if resuming.journal.failure is not None:
            raise resuming.journal.failure
        for failure in tracer.failures:
            raise AssertionError(failure)
        if process.crashed is None:
            break
        resumed += 1
    return replace(
        outcome,
        steps=[step_of(entry) for entry in tracer.memory.records.in_order(with_locks=True)],
        resumed=resumed,
        history=history.export(tracer.memory, inputs, flow.name),
    )


def _copied(inputs: Any) -> Any:
    """Return a copy of the inputs, because a flow may change them, if they can be copied."""
    try:
        return copy.deepcopy(inputs)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return inputs


async def attempt(flow: Flow, inputs: Any, tracer: Tracer, front: Replay) -> Outcome:
    """Run a flow in one process, to its end or its crash. `front` takes its events."""

    def emit(kind: Kind, text: str) -> None:
        front.put_line(tracer.fid, kind, text, output)

    output = Output(emit)
    stdout, stderr = sys.stdout, sys.stderr
    capture = Capture(dedicated=False)
    capture.install()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(places.make_task)  # type: ignore[arg-type]  # its options are any
    try:
        traced, enter = flow.trace(tracer), tracer.journal.enter
        run = Run(flow, inputs, tracer=traced, output=output, loop=loop, enter=enter)
        tracer.process.on_crash = lambda: _stop(run, tracer)
        # A flow that catches everything and goes on stands still, as in a process that is replaced.
        refusals = tracer.journal.refusals
        refusals.on_stuck = lambda: run.abandon(asyncio.CancelledError())
        ended = await run.outcome()
        if refusals.is_stuck:
            _forget_tasks(loop)
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    capture.end(output)
    if ended.kind is not None:
        tracer.note(ended.kind, ended.payload)
    tracer.process.end()
    last = tracer.events[-1].payload if ended.kind is not None and tracer.events else None
    is_final = ended.kind is Kind.FINAL
    return Outcome(
        ended.status,
        last if is_final else None,
        None if is_final else last,
        tracer.events,
        {path: data for path, data in tracer.files.items() if path.startswith("out/")},
    )


def _forget_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Keep `asyncio.run` from waiting for tasks that never end."""
    for task in asyncio.all_tasks(loop) - {asyncio.current_task(loop)}:
        asyncio.tasks._unregister_task(task)


def _stop(run: Run, tracer: Tracer) -> None:
    """End a run that has crashed. If the caller is its own thread, that raises anyway."""
    tracer.journal.close(asyncio.CancelledError())
    if run.thread != get_ident():
        run.cancel()
