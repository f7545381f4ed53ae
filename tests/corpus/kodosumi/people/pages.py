"""A page of the author's own is a flow, and any other route may launch."""

from fastapi import Request
from fastapi.responses import HTMLResponse
from kodosumi.core import Launch

from people.app import app


@app.get("/pages", entry=True, summary="Pages", author="ada@example.org")
async def show(request: Request):
    return HTMLResponse(f'<form method="post" action="{request.state.prefix}/pages">')


@app.post("/pages")
async def send(request: Request):
    form = await request.form()
    return Launch(request, "people.pages:run", inputs=dict(form), reference=show)


def run(inputs: dict):
    return inputs
