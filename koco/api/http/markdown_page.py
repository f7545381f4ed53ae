"""Markdown as a page of HTML, for browsers.

The text is a flow's, so it is not trusted. HTML in it is shown as text, and links lead only to
places of the web and to mail. Some texts take quadratic time, so size and time are limited.
"""

import functools
from typing import TYPE_CHECKING, Any

from koco.api.http.rendering import Deadline, render_apart
from koco.errors import LimitError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

#: The longest text that is converted (characters).
LONGEST = 512 * 1024
#: The most processor time of a conversion (seconds). 100,000 characters of prose take one.
MOST_S = 8.0

#: The schemes of links and images, if they have one.
_SCHEMES = ("http:", "https:", "mailto:")
_HEAD = '<!doctype html>\n<meta charset="utf-8">\n<title>Result</title>\n'
_HINT = "ask for `text/markdown` or for JSON instead"


async def render_page(text: str, *, holder: str) -> str:
    """Return Markdown as a page of HTML, for one who holds keys: see `rendering`.

    Raises:
        LimitError: it is too long, or takes too long.
    """
    if len(text) > LONGEST:
        raise LimitError(
            f"the Markdown has {len(text):,} characters, and {LONGEST:,} at most become HTML",
            hint=_HINT,
        )
    # Even a short text may take a second.
    body = await render_apart(holder, functools.partial(render, text))
    return f"{_HEAD}{body}"


def render(
    text: str,
    *,
    deadline: Deadline | None = None,
    has_breaks: bool = False,
    has_html: bool = False,
) -> str:
    """Return Markdown as HTML, without a page around it.

    With `has_breaks` the end of each line is a line break. With `has_html` its HTML is kept, and
    may do harm.

    Raises:
        LimitError: it takes too long.
    """
    environment = {"deadline": deadline or Deadline(MOST_S)}
    html: str = _converter(has_breaks, has_html).render(text, environment)
    return html


def is_safe(url: str) -> bool:
    """Whether a link may lead to a URL: one of the web, of mail, or a relative one.

    Browsers ignore some characters within a scheme, so a colon counts wherever it is before the
    first slash.
    """
    start = url.partition("/")[0].partition("?")[0].partition("#")[0].lower()
    return ":" not in start or start.startswith(_SCHEMES)


@functools.cache
def _converter(has_breaks: bool, has_html: bool) -> "MarkdownIt":
    from markdown_it import MarkdownIt  # 30 ms, and few results are converted

    converter = MarkdownIt("commonmark", {"html": has_html, "breaks": has_breaks}).enable(
        ["table", "strikethrough"]
    )
    converter.validateLink = is_safe  # type: ignore[method-assign]
    converter.add_render_rule("link_open", _open_link)
    # Asked first at each line and at each place of a line.
    converter.block.ruler.before("table", "deadline", _check_time)
    converter.inline.ruler.before("text", "deadline", _check_time)
    return converter


def _check_time(state: Any, *_: Any) -> bool:
    """Stop a conversion that takes too long. As a rule of the converter, it matches nothing."""
    if not state.env["deadline"].check():
        most_s = state.env["deadline"].most_s
        raise LimitError(f"the Markdown takes longer than {most_s:g} s to become HTML", hint=_HINT)
    return False


def _open_link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "nofollow noopener noreferrer")
    html: str = renderer.renderToken(tokens, index, options, env)
    return html
