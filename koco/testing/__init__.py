"""Run a flow in a test: in this process, without Ray, and look at everything that it wrote.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

The flow's form checks the inputs, the entrypoint is called as a runner calls it, and its output
is captured as events. Nothing is stored.

If the service has an app, `submit` asks it for the launch, and `run` runs that:

    outcome = testing.run(testing.submit("hello.app:app", {"who": "Ada"}))

A flow that uses steps is crashed and resumed, and replayed with the history of former runs:

    testing.run("hello.app:greet", {"who": "Ada"}, crash_after="*")
    testing.replays("hello.app:greet", "history.json")

This package may use everything below the API. Begin reading in `execution`.
"""

from koco.sdk.in_memory import Event, Tracer
from koco.testing.apps import submit
from koco.testing.entrypoints import use_kodosumi
from koco.testing.execution import run
from koco.testing.outcome import Outcome, Step
from koco.testing.replay import Replay, replays

__all__ = [
    "Event",
    "Outcome",
    "Replay",
    "Step",
    "Tracer",
    "replays",
    "run",
    "submit",
    "use_kodosumi",
]
