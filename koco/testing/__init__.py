"""Run a flow in a test: in this process, without Ray, and look at everything that it wrote.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

The flow's form checks the inputs, the entrypoint is called as a runner calls it, and its output
is captured as events. Nothing is stored.

If the service has an app, `submit` asks it for the launch, and `run` runs that:

    outcome = testing.run(testing.submit("hello.app:app", {"who": "Ada"}))

This package may use everything below the API. Begin reading in `execution`.
"""

from koco.sdk.in_memory import Event, Tracer
from koco.testing.apps import submit
from koco.testing.entrypoints import use_kodosumi
from koco.testing.execution import run
from koco.testing.outcome import Outcome

__all__ = ["Event", "Outcome", "Tracer", "run", "submit", "use_kodosumi"]
