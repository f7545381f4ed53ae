"""A choice that is none of the options passes, and options may be missing."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.Select("size", option=[F.InputOption(name="s", label="Small"), F.InputOption(name="l")]),
    F.Select("city", option=[]),
)


@app.enter("/choices", model=FORM, summary="Choices")
async def enter(request: Request, inputs: dict):
    return Launch(request, "values.choices:run", inputs=inputs)


def run(inputs: dict):
    return inputs
