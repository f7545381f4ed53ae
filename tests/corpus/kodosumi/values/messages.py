"""`InputsError` collects messages: by field, flashed, and as arguments. `F.Errors` has a key."""

from fastapi import Request
from kodosumi.core import InputsError, KodosumiError, Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(F.Errors(), F.InputText(name="topic"), F.InputText(name="mode"))


@app.enter("/messages", model=FORM, summary="Messages")
async def enter(request: Request, inputs: dict):
    error = InputsError("It was not launched.")
    if error or error.has_errors():
        raise RuntimeError("an error without messages is false")
    if not inputs["topic"]:
        error.add(topic="Please give me a topic.")
        error.add(topic="Any topic.")
        error.flash("A form was incomplete.")
    if error:
        raise error
    if inputs["mode"] == "keyword":
        raise InputsError(mode="Not this mode.")
    assert issubclass(InputsError, KodosumiError)
    return Launch(request, "values.messages:run", inputs=inputs)


def run(inputs: dict):
    return sorted(inputs), inputs["_global_"]
