"""Handlers and entrypoints name the arguments that they want; others keep their defaults."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/mute", model=F.Model(F.InputText(name="x")), summary="Mute")
async def enter(request: Request, more=3):
    return Launch(request, "launches.mute:run")


def run(tracer, more=5):
    tracer.debug_sync("called")
    return more
