"""A handler that returns no `Launch` launches nothing, and one that raises says why."""

from fastapi import Request
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/refused", model=F.Model(F.InputText(name="how")), summary="Refused")
async def enter(request: Request, inputs: dict):
    if inputs["how"] == "raise":
        raise LookupError("no such thing")
    return {"fid": "made up"}
