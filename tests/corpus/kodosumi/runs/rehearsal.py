"""`TracerMock` stands in for a tracer in the service's own tests."""

from kodosumi.core import TracerMock


async def _step(inputs: dict, tracer):
    await tracer.debug("rehearsed", inputs["who"])
    return len(inputs)


async def run(inputs: dict):
    return await _step({"who": "Ada"}, TracerMock())
