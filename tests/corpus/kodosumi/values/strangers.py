"""Keys that are not in the form are ignored."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app


@app.enter("/strangers", model=F.Model(F.InputText(name="who")), summary="Strangers")
async def enter(request: Request, inputs: dict):
    return Launch(request, "values.strangers:run", inputs=inputs)


def run(inputs: dict):
    return inputs
