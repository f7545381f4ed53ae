"""HTML of flows, which is not trusted: only harmless elements and attributes are kept.

The result is written anew from the parsed text: every other `<` is escaped and every attribute is
quoted, so no browser can read more into it than what is allowed here.
"""

import re
import textwrap
from html import escape, unescape

from koco.api.http import markdown_page
from koco.api.http.rendering import Deadline
from koco.errors import LimitError

#: Elements that are kept, and those whose content goes as well.
_KEPT = frozenset(
    {
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col"),
        *("colgroup", "dd", "del", "details", "dfn", "div", "dl", "dt", "em", "figcaption"),
        *("figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd"),
        *("li", "mark", "ol", "p", "pre", "q", "s", "samp", "section", "small", "span"),
        *("strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "tr", "tt", "u", "ul", "var", "wbr"),
    }
)
_GONE = frozenset(
    {
        *("script", "style", "title", "iframe", "object", "embed", "noscript", "noembed"),
        *("noframes", "template", "textarea", "select", "svg", "math", "xmp", "plaintext"),
        "head",
    }
)
#: The most elements that are open at once. Further ones are left out, but not their text.
_DEEPEST = 200
#: The longest text that is parsed (characters), because that takes a second. The beginning of a
#: longer one is shown as it is.
LONGEST = 200_000
#: How long Markdown may take to become HTML (seconds).
MOST_S = 3.0
#: Elements of forms, without the form itself.
_FIELDS = frozenset(
    ("button", "fieldset", "input", "label", "legend", "option", "select", "textarea")
)
_VOID = frozenset(("br", "hr", "img", "input", "wbr", "col"))
#: Attributes that are kept, of any element or of some.
_ATTRIBUTES = frozenset(("title", "class", "colspan", "rowspan", "align", "lang", "dir"))
_FIELD = frozenset(
    {
        *("checked", "cols", "for", "id", "max", "maxlength", "min", "minlength", "multiple"),
        *("name", "pattern", "placeholder", "required", "rows", "selected", "size", "step"),
        *("type", "value"),
    }
)
_OF = {
    "a": frozenset(("href",)),
    "img": frozenset(("src", "alt", "width", "height")),
    **dict.fromkeys(_FIELDS, _FIELD),
}
_LINKS = ("href", "src")

#: Schemes of links that run nothing. A link without a scheme leads to this host.
_SCHEME = re.compile(r"(?:https?:|mailto:)", re.IGNORECASE)
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*", re.IGNORECASE)
#: The name of an element, and one attribute with the space around it.
_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)(?=[\s/>])")
_ATTRIBUTE = re.compile(
    r"[\s/]*(?P<name>[^\s\"'<>/=]+)?"
    r"(?:\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s>]+)))?"
)
#: Characters that browsers ignore in a link.
_IGNORED = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
#: Colours and cursor movements of terminals.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def clean(text: str, *, is_form: bool = False) -> str:
    """Return HTML with its harmless elements only. With `is_form`, fields of forms are harmless."""
    if len(text) > LONGEST:
        return _beginning(text)
    return _Cleaner(text, is_form=is_form).clean()


def from_markdown(text: str, *, most_s: float | None = None) -> str:
    """Return Markdown as harmless HTML. A line break is one, as in Kodosumi.

    If that takes longer than `most_s` seconds of processor time, or `MOST_S`, it is shown as it is.
    """
    if len(text) > LONGEST:
        return _beginning(text)
    try:
        deadline = Deadline(MOST_S if most_s is None else most_s)
        plain = textwrap.dedent(text)
        made = markdown_page.render(plain, deadline=deadline, has_breaks=True)
    except LimitError:
        return as_is(text)
    return clean(made)


def as_is(text: str) -> str:
    """Return a text as HTML that shows every character of it, or of its beginning."""
    return _beginning(text) if len(text) > LONGEST else f"<pre>{from_terminal(text)}</pre>"


def from_terminal(text: str) -> str:
    """Return text of a terminal as HTML, without its colours."""
    return escape(_ANSI.sub("", text))


def _beginning(text: str) -> str:
    """Return the beginning of a text that is too long, and how long it is."""
    return f"<pre>{from_terminal(text[:LONGEST])}</pre><p>… ({len(text)} characters)</p>"


class _Cleaner:
    """Writes the harmless part of a text in one pass, however odd the text is."""

    def __init__(self, text: str, *, is_form: bool) -> None:
        self._text = text
        self._kept = _KEPT | _FIELDS if is_form else _KEPT
        self._gone = _GONE - _FIELDS if is_form else _GONE
        self._pieces: list[str] = []
        self._open: list[str] = []

    def clean(self) -> str:
        """Return the kept text, with all elements closed."""
        at = 0
        while at < len(self._text):
            begin = self._text.find("<", at)
            if begin < 0:
                begin = len(self._text)
            self._write_text(self._text[at:begin])
            at = self._read_markup(begin) if begin < len(self._text) else begin
        return "".join(self._pieces) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def _write_text(self, text: str) -> None:
        # Decoded first, because an entity without a semicolon would change its meaning.
        self._pieces.append(escape(unescape(text), quote=False))

    def _read_markup(self, begin: int) -> int:
        """Read a tag, which begins with `<`; return the place after it."""
        if found := _TAG.match(self._text, begin):
            return self._read_tag(found)
        for start, end in (("<!--", "-->"), ("<!", ">"), ("<?", ">"), ("</", ">")):
            if self._text.startswith(start, begin):
                stop = self._text.find(end, begin + len(start))
                return len(self._text) if stop < 0 else stop + len(end)
        self._pieces.append("&lt;")
        return begin + 1

    def _read_tag(self, found: re.Match[str]) -> int:
        """Read an element's beginning or end; return the place after it."""
        tag = found["name"].lower()
        attributes: dict[str, str] = {}
        at = found.end()
        while (each := _ATTRIBUTE.match(self._text, at)) and each.end() > at:
            at = each.end()
            if each["name"]:
                value = each["double"] or each["single"] or each["bare"] or ""
                attributes.setdefault(each["name"].lower(), unescape(value))
        stop = self._text.find(">", at)
        if stop < 0:
            return len(self._text)  # it never ends, so browsers leave out the rest, too
        if found["slash"]:
            self._end(tag)
        elif tag in self._gone:
            return self._skip(tag, stop + 1)
        elif tag in self._kept and len(self._open) < _DEEPEST:
            self._pieces.append(f"<{tag}{''.join(_attributes(tag, attributes))}>")
            if tag not in _VOID:
                self._open.append(tag)
        return stop + 1

    def _end(self, tag: str) -> None:
        """Write an element's end, and those of the elements that are open in it."""
        while tag in self._open:
            last = self._open.pop()
            self._pieces.append(f"</{last}>")
            if last == tag:
                return

    def _skip(self, tag: str, at: int) -> int:
        """Return the place where an element ends whose content is left out."""
        end = re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE).search(self._text, at)
        return end.start() if end else len(self._text)


def _attributes(tag: str, given: dict[str, str]) -> list[str]:
    kept = _ATTRIBUTES | _OF.get(tag, frozenset())
    found = [
        f' {name}="{escape(value)}"'
        for name, value in given.items()
        if name in kept and (name not in _LINKS or _is_harmless(name, value))
    ]
    return [*found, ' rel="noopener noreferrer nofollow"'] if tag == "a" else found


def _is_harmless(name: str, link: str) -> bool:
    """Whether a link runs nothing in a page, and loads nothing."""
    plain = _IGNORED.sub("", link)
    if name == "src":
        # No other image, because the reader's address would be its host's.
        return _IMAGE.fullmatch(plain) is not None
    if _SCHEME.match(plain):
        return True
    # Without a scheme: nothing before the first `/`, `?` or `#` may be one.
    return ":" not in re.split(r"[/?#]", plain, maxsplit=1)[0]
