"""A handler sees its user, its prefix, and the headers and the query of the caller."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@app.enter("/callers", model=F.Model(), summary="Callers")
async def enter(request: Request):
    seen = {
        "user": request.state.user,
        "prefix": request.state.prefix,
        "header": request.headers.get("x-ticket"),
        "query": dict(request.query_params),
        "cookies": dict(request.cookies),
    }
    return Launch(request, "launches.callers:run", inputs=seen)


def run(inputs: dict):
    return inputs
