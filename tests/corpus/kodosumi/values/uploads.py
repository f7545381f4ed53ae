"""A field of files has the set of their names, which the flow reads below `in/`."""

from fastapi import Request
from kodosumi.core import Launch, Tracer
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(F.InputFiles(name="papers", label="Papers", multiple=True, required=True))


@app.enter("/uploads", model=FORM, summary="Uploads")
async def enter(request: Request, inputs: dict):
    if not isinstance(inputs["papers"], set):
        return Launch(request, "values.uploads:none", inputs=inputs)
    return Launch(request, "values.uploads:run", inputs=inputs)


def none(inputs: dict):
    return inputs


async def run(inputs: dict, tracer: Tracer):
    fs = await tracer.fs()
    texts = {}
    for name in sorted(inputs["papers"]):
        async with fs.open(f"in/{name}") as stream:
            texts[name] = (await stream.read_all()).decode()
    await fs.close()
    return type(inputs["papers"]).__name__, texts
