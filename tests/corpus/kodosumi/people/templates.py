"""`Templates` finds the author's own templates, and the frames that Kodosumi brings."""

from pathlib import Path

from fastapi import Request
from kodosumi.core import Templates

from people.app import app

templates = Templates(directory=Path(__file__).parent / "templates_folder")


@app.get("/news")
async def news(request: Request):
    return templates.TemplateResponse(request, "news.html", {"items": ["<one>", "two"]})
