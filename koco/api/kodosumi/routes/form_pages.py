"""Forms as pages: `/inputs/-/…` and `/inputs/lock/…`, for browsers and for clients.

A browser gets a page with the form. Other clients get the JSON of `/-/…` and `/lock/…`.
"""

import textwrap
from functools import partial
from html import escape
from typing import Any

from litestar import MediaType, Response, get, post

from koco.api.http import auth, markdown_page
from koco.api.http.rendering import Deadline, render_apart
from koco.api.http.request import Request
from koco.api.kodosumi import bodies
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.routes import flows, locks
from koco.api.kodosumi.shapes import safe_html
from koco.errors import LimitError

_FLOW = "/inputs/-/{path:path}"
_LOCK = "/inputs/lock/{fid:str}/{lid:str}"
#: The name and value of the button that leaves the form.
_CANCEL = "__cancel__"
#: The form's author is not trusted: there are no scripts, and the form is sent to this host only.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
    '<body><main><form method="post">{form}</form></main></body></html>'
)


@get(_FLOW, guards=[requires("read")])
async def show_form(request: Request, path: str) -> Response[Any]:
    """Show a flow's form: a page for browsers, else as `/-/…` does."""
    found = await flows.show(request, path)
    if _is_for_browsers(request) and isinstance(found.content, dict):
        title = str(found.content.get("summary"))
        return await _page(request, found.content["elements"], title=title)
    return found


@post(_FLOW, status_code=200, guards=[requires("launch")])
async def launch(request: Request, path: str) -> Response[Any]:
    """Launch a flow; a browser is led to the result, or shown the form with the errors."""
    if await _is_cancelled(request):
        return _redirect("/flow")
    found = await flows.launch_at(request, path)
    if not _is_for_browsers(request) or not isinstance(found.content, dict):
        return found
    if fid := found.content.get("result"):
        return _redirect(f"/outputs/html/{fid}")
    return await _page_again(request, found.content)


@get(_LOCK, guards=[requires("read")])
async def show_lock(request: Request, fid: str, lid: str) -> Response[Any]:
    """Show the form of an open lock: a page for browsers, else its elements."""
    found = await locks.show(request, fid, lid)
    is_page = _is_for_browsers(request)
    return await _page(request, found, title=lid) if is_page else Response(found)


@post(_LOCK, status_code=200, guards=[requires("launch")])
async def answer_lock(request: Request, fid: str, lid: str) -> Response[Any]:
    """Answer a lock; a browser is led to the execution, or shown the form with the errors."""
    if await _is_cancelled(request):
        execution = await auth.find_execution(request, fid)
        return _redirect(f"/outputs/html/{execution.fid}")
    found = await locks.answer(request, fid, lid)
    if not _is_for_browsers(request):
        return Response(found)
    if "errors" in found:
        return await _page_again(request, found)
    return _redirect(f"/outputs/html/{request.path_params['fid']}")


def _is_for_browsers(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and bodies.JSON not in accepted


async def _is_cancelled(request: Request) -> bool:
    """Whether the button was pressed that leaves the form. Nothing is launched or answered then."""
    if bodies.media_type(request) != bodies.FORM:
        return False
    return (await bodies.read_form(request)).get(_CANCEL) == _CANCEL


def _redirect(where: str) -> Response[Any]:
    return Response(None, status_code=303, headers={"Location": where})


async def _page_again(request: Request, found: dict[str, Any]) -> Response[Any]:
    """Return the form with the sent values and the errors."""
    sent = await bodies.read_object(request)
    return await _page(request, found["elements"], title="", errors=found.get("errors"), sent=sent)


async def _page(
    request: Request,
    elements: list[dict[str, Any]],
    *,
    title: str,
    errors: dict[str, list[str]] | None = None,
    sent: dict[str, Any] | None = None,
) -> Response[Any]:
    render = partial(render_form, elements, errors=errors, sent=sent)
    form = await render_apart(request.auth.holder, render)
    page = _PAGE.format(title=escape(title), form=form)
    headers = {"Content-Security-Policy": _POLICY}
    return Response(page, media_type=MediaType.HTML, headers=headers)


def render_form(
    elements: list[dict[str, Any]],
    *,
    errors: dict[str, list[str]] | None = None,
    sent: dict[str, Any] | None = None,
) -> str:
    """Return a form as harmless HTML, with messages by field and with the values that were sent."""
    # Imported here, because most clients ask for JSON.
    from koco.kodosumi.forms import Model

    deadline = Deadline(safe_html.MOST_S)
    shown = [_without_markdown(each, deadline) for each in elements]
    model = Model.model_validate(shown, errors=errors)
    if sent is not None:
        model.set_data(sent)
    return safe_html.clean(model.render(), is_form=True)


def _without_markdown(element: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    """Return an element; one of Markdown as one of HTML, or as it is if the time is over."""
    if element.get("type") != "markdown":
        return element
    text = str(element.get("text") or "")
    try:
        html = markdown_page.render(textwrap.dedent(text), deadline=deadline, has_html=True)
    except LimitError:
        html = safe_html.as_is(text)
    return {"type": "html", "text": html}


ROUTES = (answer_lock, launch, show_form, show_lock)
