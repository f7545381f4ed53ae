"""The flow's entrypoint: what `koco.yaml` names, and a runner calls."""

from koco import Tracer, response


async def greet(inputs: dict, tracer: Tracer) -> response.Markdown:
    """Greet somebody, once or more often."""
    who, times = inputs["who"], inputs["times"]
    await tracer.debug("greeting", who)
    for _ in range(times):
        # What is printed becomes part of the execution's event stream.
        print(f"Hello, {who}!")
    return response.Markdown(f"# Hello, {who}!")
