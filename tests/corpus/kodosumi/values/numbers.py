"""A number is the text that was sent, valid or not; the handler parses it."""

from fastapi import Request
from kodosumi.core import InputsError, Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.InputNumber(name="count", label="Count", min_value=1, max_value=10, placeholder="3"),
    F.InputNumber(name="limit", label="Limit", placeholder="30"),
    F.Submit("Go"),
)


@app.enter("/numbers", model=FORM, summary="Count")
async def enter(request: Request, inputs: dict):
    count = inputs["count"].strip() or "3"
    if not count.isdigit():
        raise InputsError(count=f"{count!r} is not a number")
    return Launch(request, "values.numbers:run", inputs={**inputs, "count": int(count)})


def run(inputs: dict):
    return {"count": inputs["count"] * 2, "limit": inputs["limit"]}
