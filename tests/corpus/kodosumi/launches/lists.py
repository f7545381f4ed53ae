"""Inputs may be a list."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/lists", model=F.Model(F.InputText(name="words")), summary="Lists")
async def enter(request: Request, inputs: dict):
    return Launch(request, run, inputs["words"].split())


def run(inputs: list):
    return list(reversed(inputs))
