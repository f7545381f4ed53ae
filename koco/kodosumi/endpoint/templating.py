"""Jinja templates for an author's pages, as Kodosumi's `Templates` loads them."""

from typing import Any

import jinja2
from starlette.templating import Jinja2Templates

_MASTER = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
{% block head %}{% endblock %}
</head>
<body>
{% block nav %}{% endblock %}
{% block header %}{% endblock %}
{% block main %}{% endblock %}
</body>
</html>
"""
_FRAME = """{% extends "_master.html" %}
{% block head %}
<style>{% block styles %}{% endblock %}</style>
<script>{% block script %}{% endblock %}</script>
{% endblock %}
{% block header %}
<header>{% block menu %}{% endblock %}{% block details %}{% endblock %}</header>
{% endblock %}
{% block main %}
<main>{% block page %}{% endblock %}</main>
{% endblock %}
"""

#: The templates that pages extend. They have the blocks of Kodosumi's panel, and nothing of its
#: look: there is no panel here. Not files, because nodes of other clusters get koco's modules only.
_OWN = {"_master.html": _MASTER, "_frame.html": _FRAME}


class Templates(Jinja2Templates):
    """Templates in the author's directories. `static(path)` is there as Kodosumi has it."""

    def __init__(self, directory: Any = (), **options: Any) -> None:
        """Take a directory or a list of them, and further options of Starlette's class."""
        given = [*directory] if isinstance(directory, list | tuple) else [directory]
        loader = jinja2.ChoiceLoader([jinja2.DictLoader(_OWN), jinja2.FileSystemLoader(given)])
        environment = jinja2.Environment(loader=loader, autoescape=jinja2.select_autoescape())
        super().__init__(env=environment, **options)
        self.env.globals["static"] = _static

    def TemplateResponse(self, *args: Any, **options: Any) -> Any:  # noqa: N802 - Starlette's name
        """Return a response with a page: `(request, name, context)`, or as until Starlette 1.0.

        That was `(name, {"request": request, …})`.
        """
        if args and isinstance(args[0], str):
            name, *rest = args
            context = rest.pop(0) if rest else options.pop("context", {})
            return super().TemplateResponse(context["request"], name, context, *rest, **options)
        return super().TemplateResponse(*args, **options)


def _static(path: str) -> str:
    return f":/static{path}"
