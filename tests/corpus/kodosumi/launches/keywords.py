"""`Launch` takes keywords, and further data for the `meta` event."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter(
    "/keywords",
    model=F.Model(F.InputText(name="topic")),
    summary="Keywords",
    description="Launches by keyword.",
    author="ada@example.org",
    organization="Example",
    version="2.1",
    tags=["demo"],
    deprecated=True,
)
async def enter(request: Request, inputs: dict):
    return Launch(
        request=request,
        entry_point="launches.keywords.run",
        inputs=inputs,
        summary=f"About {inputs['topic']}",
        extra={"ticket": 7},
    )


def run(inputs: dict):
    return inputs["topic"]
