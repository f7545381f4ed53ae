"""Convert HTML to text, for users without a browser at hand.

Not with the standard library's parser: on markup that somebody has broken on purpose, Python 3.11's
takes minutes or fails. This takes time in proportion to the length.
"""

import re
from collections.abc import Iterator
from html import unescape

#: Elements that begin a new line.
_BLOCKS = frozenset(
    ("br", "dd", "div", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "p", "pre", "tr")
)

#: Elements whose content is not shown.
_SILENT = frozenset(("script", "style", "template", "title"))

#: A comment, a declaration, a tag with its name, or text. Each character is looked at a few times.
_PIECE = re.compile(
    r"""(?P<skipped> <!--.*?(?:-->|\Z) | <[!?][^<>]*>? )
      | <(?P<tag> /?[a-zA-Z][^\s/<>]* ) (?: [^<>"'] | "[^"<]*" | '[^'<]*' )* >?
      | (?P<text> [^<]+ | < )""",
    re.DOTALL | re.VERBOSE,
)


def text_of(html: str) -> str:
    """Return the text of a piece of HTML, a block on each line."""
    lines = (" ".join(line.split()) for line in "".join(_pieces(html)).split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(html: str) -> Iterator[str]:
    at, lower = 0, html.lower()
    while found := _PIECE.match(html, at):
        at = found.end()
        if (text := found["text"]) is not None:
            yield unescape(text).replace("\n", " ")
        elif (tag := found["tag"]) is not None:
            name = tag.strip("/").lower()
            if name in _BLOCKS:
                yield "\n- " if tag == "li" else "\n"
            if name in _SILENT and not tag.startswith("/"):
                end = lower.find(f"</{name}", at)
                at = len(html) if end < 0 else end
