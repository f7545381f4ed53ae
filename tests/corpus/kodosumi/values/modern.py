"""The elements of 1.2. Only a range converts its value."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.DisplayInfo("All of these are new.", label="Note"),
    F.InputEmail(name="email", placeholder="ada@example.org", max_length=80),
    F.InputUrl(name="url"),
    F.InputTel(name="tel"),
    F.InputSearch(name="search"),
    F.InputMonth(name="month", min_month="2026-01"),
    F.InputWeek(name="week"),
    F.InputColor(name="color"),
    F.InputRange(name="volume", max_value=11, step=0.5),
    F.InputHidden("campaign", "spring"),
    F.InputRadio("tone", option=[F.InputOption("low"), F.InputOption("high")], value="low"),
)


@app.enter("/modern", model=FORM, summary="Modern")
async def enter(request: Request, inputs: dict):
    return Launch(request, "values.modern:run", inputs=inputs)


def run(inputs: dict):
    return inputs
