"""A lock that nobody answers in time raises `TimeoutError`."""

from fastapi import Request
from kodosumi.core import Launch, Tracer
from kodosumi.core import forms as F

from people.app import app


@app.enter("/timeouts", model=F.Model(), summary="Timeouts")
async def enter(request: Request):
    return Launch(request, "people.timeouts:run")


async def run(tracer: Tracer):
    try:
        return await tracer.lock("nobody", timeout=0.5)
    except TimeoutError:
        return "in vain"


@app.lock("nobody")
async def nobody():
    return F.Model(F.Submit("Go"))
