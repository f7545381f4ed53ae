"""A box is checked if `on` was sent, and by nothing else: its default is only shown."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.Checkbox(name="news", option="Send me news", value=True),
    F.Checkbox(name="terms", label="Terms", option="I agree"),
)


@app.enter("/boxes", model=FORM, summary="Boxes")
def enter(request: Request, inputs: dict):
    return Launch(request, "values.boxes:run", inputs=inputs)


async def run(inputs: dict):
    return inputs
