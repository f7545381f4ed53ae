"""HTML as text, whatever its author has done to it."""

import time

import pytest

from koco.cli.terminal.html_text import text_of


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one<br>two</p> three &amp; four", "one\ntwo\nthree & four"),
        ("<ul><li>a<li class='x>y'>b</ul>", "- a\n- b"),
        ("a<script>if (a < b) alert(1)</script>b<style>p {}", "ab"),
        ("<TITLE>t</TITLE><H1>big</H1>small", "big\nsmall"),
        ("a<!-- <p>no</p> -->b<!doctype html>c", "abc"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<b>bold</b>\n<i>and</i>", "bold and"),
        ("&lt;b&gt; &#x41;", "<b> A"),
        ("a<!-- never closed", "a"),
        ("<![<x", ""),
        ("<br/>x<hr />y", "x\ny"),
    ],
)
def test_what_it_reads(html: str, text: str) -> None:
    """Blocks begin lines, what is not shown is left out, broken markup is no error."""
    assert text_of(html) == text


@pytest.mark.parametrize(
    "piece", ["<a ", "<!-- ", "<a '", '<a "', "<![", "</", "<script>", "&", "<a b='c\" "]
)
def test_broken_markup_takes_no_longer_than_other_text(piece: str) -> None:
    """Twice as much takes about twice as long, and not a hundred times."""

    def cpu_s(html: str) -> float:
        began = time.process_time()
        text_of(html)
        return time.process_time() - began

    size = 128 * 1024
    usual = max(min(cpu_s("<p>text " * (size // 8)) for _ in range(3)), 0.01)
    assert cpu_s(piece * (size // len(piece))) < 30 * usual
