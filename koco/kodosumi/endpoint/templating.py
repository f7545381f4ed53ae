"""Jinja templates for an author's pages, as Kodosumi's `Templates` loads them."""

from pathlib import Path
from typing import Any

from starlette.templating import Jinja2Templates

#: `_frame.html` and `_master.html`, which pages extend. They have the blocks of Kodosumi's panel,
#: and nothing of its look: there is no panel here.
_OWN = Path(__file__).parent / "page_templates"


class Templates(Jinja2Templates):
    """Templates in the author's directories. `static(path)` is there as Kodosumi has it."""

    def __init__(self, directory: Any = (), **options: Any) -> None:
        """Take a directory or a list of them, and further options of Starlette's class."""
        given = [*directory] if isinstance(directory, list | tuple) else [directory]
        super().__init__(directory=[_OWN, *given], **options)
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
