"""The key of a button is there, with None if it was not pressed."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.InputText("comment"),
    F.Action(name="save", value="draft", text="Save"),
    F.Action(name="send", value="now", text="Send"),
    F.Submit("Check"),
    F.Cancel("Leave"),
)


@app.enter("/actions", model=FORM, summary="Actions")
async def enter(request: Request, inputs: dict):
    return Launch(request, "values.actions:run", inputs=inputs)


def run(inputs: dict):
    return inputs
