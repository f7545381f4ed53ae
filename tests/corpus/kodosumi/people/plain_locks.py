"""A lock without a lease passes the values of its form on."""

from fastapi import Request
from kodosumi.core import Launch, Tracer
from kodosumi.core import forms as F

from people.app import app


@app.enter("/plain-locks", model=F.Model(), summary="Plain locks")
async def enter(request: Request):
    return Launch(request, "people.plain_locks:run")


async def run(tracer: Tracer):
    first = await tracer.lock("question", {"text": "How many?"})
    second = await tracer.lock("question", {"text": "Are you sure?"})
    return [first, second]


@app.lock("question")
def question(data: dict):
    return F.Model(F.InputNumber(name="answer", label=data["text"]), F.Checkbox(name="sure"))
