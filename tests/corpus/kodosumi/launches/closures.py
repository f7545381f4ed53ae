"""An entrypoint may be a closure."""

from fastapi import Request
from kodosumi.core import Launch, Tracer
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/closures", model=F.Model(F.InputText(name="word")), summary="Closures")
async def enter(request: Request, inputs: dict):
    word = inputs["word"]

    async def shout(tracer: Tracer):
        await tracer.result(word)
        return word.upper()

    return Launch(request, shout)
