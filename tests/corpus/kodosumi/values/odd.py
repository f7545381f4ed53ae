"""A form that only Kodosumi accepts: any argument, any default, a name twice."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.Break("x"),
    F.HR("y", z=1),
    F.InputText(name="five", value=5, error=["Five is too few."]),
    F.InputNumber(name="many", value="many", pattern=r"(\d+)(?=x)"),
    F.InputDate(name="soon", value="soon", max_date="later"),
    F.InputFiles(name="papers", value=None, multiple=True),
    F.Checkbox(name="twice"),
    F.InputText(name="twice"),
)


@app.enter("/odd", model=FORM, summary="Odd")
async def enter(request: Request, inputs: dict):
    return Launch(request, "values.odd:run", inputs=inputs)


def run(inputs: dict):
    return inputs
