"""Sets, bytes and tuples arrive as what they are."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/sets", model=F.Model(), summary="Sets")
async def enter(request: Request):
    inputs = {"set": {1, 2}, "bytes": b"\x00\xff", "tuple": (1, 2)}
    return Launch(request, "launches.sets:run", inputs=inputs)


def run(inputs: dict):
    return {name: type(value).__name__ for name, value in inputs.items()}, len(inputs["bytes"])
