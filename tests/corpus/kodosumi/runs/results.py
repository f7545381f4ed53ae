"""`result` and `action` make an event of each value."""

from kodosumi.core import Tracer


async def run(inputs: dict, tracer: Tracer):
    await tracer.result(1, {"two": 2}, ["three"])
    await tracer.action("a", "b")
    await tracer.result()
    return "done"
