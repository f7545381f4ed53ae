"""An `enter` path may have parameters."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/years/{year}", model=F.Model(F.InputText(name="topic")), summary="Years")
async def enter(request: Request, inputs: dict):
    year = int(request.path_params["year"])
    return Launch(request, "launches.paths:run", inputs={**inputs, "year": year})


def run(inputs: dict):
    return inputs
