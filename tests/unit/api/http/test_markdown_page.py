"""Markdown becomes HTML that can do no harm, in limited time."""

import asyncio
import time

import pytest

from koco.api.http import markdown_page
from koco.api.http.markdown_page import is_safe, render, render_page
from koco.api.http.rendering import Deadline
from koco.errors import LimitError


def test_converts_usual_markdown() -> None:
    """With tables, which are not in CommonMark."""
    page = asyncio.run(
        render_page("# Report\n\n- *one*\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", holder="a")
    )
    for part in ("<!doctype html>", 'charset="utf-8"', "<h1>Report</h1>", "<em>one</em>", "<td>2"):
        assert part in page


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick=x>b</b>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](<javascript:alert(1)>)",
        "![x](data:image/svg+xml;base64,PHN2Zz4=)",
        "![x](data:image/png;base64,aaaa)",
        "[x](vbscript:x)",
        "[x](file:///etc/passwd)",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        '[x](https://a "onmouseover=\\"alert(1)")',
        "[x](\\javascript:alert(1))",
        "[x](\x01javascript:alert(1))",
    ],
)
def test_hostile_markdown_has_no_effect(text: str) -> None:
    """No element or attribute of the author's, and no link but those of the web and of mail."""
    html = render(text).lower()
    for part in ("<script", "<img src=x", "<b ", 'href="javascript', 'href="vbscript', 'src="data'):
        assert part not in html
    assert 'href="file' not in html
    assert "onmouseover=" not in html or "&quot;" in html


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://example.com/a:b", True),
        ("mailto:ada@example.com", True),
        ("/files/wrq4/out/report.md", True),
        ("report.md", True),
        ("#part", True),
        ("?a=b:c", True),
        ("javascript:x", False),
        (" javascript:x", False),
        ("java\nscript:x", False),
        ("data:text/html,x", False),
        ("ftp://example.com", False),
        ("a:b", False),
    ],
)
def test_links_have_schemes_of_the_web_or_of_mail(url: str, safe: bool) -> None:
    assert is_safe(url) is safe


def test_links_tell_nothing_of_their_page() -> None:
    assert render("[x](https://a.b)") == (
        '<p><a href="https://a.b" rel="nofollow noopener noreferrer">x</a></p>\n'
    )


@pytest.mark.parametrize("piece", ["[", "![", "](", "[a](", "- a\n  "])
def test_texts_that_would_take_long_are_refused(piece: str) -> None:
    """Some take quadratic time. The limit counts processor time."""
    began = time.thread_time()
    with pytest.raises(LimitError, match="takes longer"):
        render(piece * 100_000, deadline=Deadline(0.2))
    assert time.thread_time() - began < 5


def test_texts_that_are_too_long_are_refused() -> None:
    with pytest.raises(LimitError, match="at most become HTML"):
        asyncio.run(render_page("x" * (markdown_page.LONGEST + 1), holder="a"))


def test_deep_nesting_is_cut() -> None:
    assert render(">" * 5000 + " x").count("<blockquote>") < 100
