"""An absent text or choice is None, even with a default, and an empty one stays empty."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.InputText(name="topic", value="night", required=True),
    F.InputArea(name="notes", value="none"),
    F.InputPassword(name="code", min_length=8),
    F.Select(name="tone", option=[F.InputOption("merry", "Merry")], value="merry"),
)


@app.enter("/blanks", FORM, summary="Blanks")
async def enter(inputs: dict, request: Request):
    return Launch(request, "values.blanks:run", inputs)


def run(inputs: dict):
    code = inputs["code"]
    return {**inputs, "code": None if code is None else len(code)}
