"""HTML of flows loses whatever could run, and nothing else."""

import time

import pytest

from koco.api.kodosumi.shapes import safe_html


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("<b>x</b> <i>y</i>", "<b>x</b> <i>y</i>"),
        ("<p>a<p>b", "<p>a<p>b</p></p>"),
        ("a &lt;b&gt; &amp; c", "a &lt;b&gt; &amp; c"),
        ("<script>alert(1)</script>x", "x"),
        ("<SCRIPT src=//e>alert(1)</SCRIPT >x", "x"),
        ("<script>x", ""),
        ("<svg><script>alert(1)</script></svg>x", "x"),
        ("<svg/onload=alert(1)>", ""),
        ("<math><mi//xlink:href=x>y</math>z", "z"),
        ("<img src=x onerror=alert(1)>", "<img>"),
        ("<img src=//e/x.png alt=i>", '<img alt="i">'),
        ("<img src='https://e/x.png?a=secret'>", "<img>"),
        ("<img src=/logout>", "<img>"),
        ("<img src=data:image/png;base64,AA==>", '<img src="data:image/png;base64,AA==">'),
        ("<p style='x' onclick=y class=c>a</p>", '<p class="c">a</p>'),
        ("<iframe srcdoc='<script>'></iframe>x", "x"),
        ("<style>@import 'x'</style>x", "x"),
        ("<form action=x><input name=a></form>x", "x"),
        ("<!-- <b> -->x<![CDATA[y]]>", "x"),
        ("</div></b>x", "x"),
        ("<b", "&lt;b"),
        ("1 < 2 <3", "1 &lt; 2 &lt;3"),
        ("<p title='a>b'>x", '<p title="a&gt;b">x</p>'),
        ("<p title=a&quot;b=x>y", '<p title="a&quot;b=x">y</p>'),
        ("<![<!x>y", "y"),
        ("&lt;script&gt;x&#60;/script&#62;", "&lt;script&gt;x&lt;/script&gt;"),
        ("<a/href=/x>y</a>", '<a href="/x" rel="noopener noreferrer nofollow">y</a>'),
        ("<a title='\"><script>'>x</a>", None),
        ("<base href=//e><meta http-equiv=refresh><link rel=stylesheet>x", "x"),
        ("<div><template><b>x</b></template>y</div>", "<div>y</div>"),
    ],
)
def test_only_harmless_elements_are_kept(given: str, found: str | None) -> None:
    """Anything else is left out or escaped."""
    cleaned = safe_html.clean(given)
    if found is not None:
        assert cleaned == found
    for part in ("<script", "onerror", "onclick", "onload", "srcdoc", "style=", "<svg", "<iframe"):
        assert part not in cleaned
    assert safe_html.clean(cleaned) == cleaned or "<p>" in cleaned


@pytest.mark.parametrize(
    ("link", "is_kept"),
    [
        ("https://example.com/a?b=c:d", True),
        ("/files/abc/out/report.md", True),
        ("report.md#a:b", True),
        ("mailto:ada@example.com", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("java\tscript:alert(1)", False),
        (" \x01javascript:alert(1)", False),
        ("&#106;avascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("vbscript:x", False),
        ("blob:x", False),
    ],
)
def test_links_run_nothing(link: str, is_kept: bool) -> None:
    """Schemes that browsers execute are left out, however they are spelt."""
    for text in (
        safe_html.clean(f'<a href="{link}">x</a>'),
        safe_html.from_markdown(f"[x](<{link}>)"),
    ):
        assert ("href=" in text) is is_kept, text


def test_markdown_is_shown() -> None:
    """With tables and line breaks, and without its HTML."""
    assert safe_html.from_markdown("  # A\n\n  b\n  c") == "<h1>A</h1>\n<p>b<br>\nc</p>\n"
    assert "<td>1</td>" in safe_html.from_markdown("|a|\n|-|\n|1|")
    assert "<script" not in safe_html.from_markdown("x <script>alert(1)</script>")


def test_text_of_terminals_loses_its_colours() -> None:
    """And is escaped."""
    assert safe_html.from_terminal("\x1b[1;31m<b>\x1b[0m \x1b]0;t\x07x") == "&lt;b&gt; x"


ODD = ("<b>", "</b>", "<b></i>", "<a href=x ", "<a b='", "<!--", "<![", "<?", "</", "<script>")
ODD_TOO = ("&#", "[", "![", "[a](", "`", "*a_ ", "|a\n|-\n", "> ", "* a\n")


@pytest.mark.parametrize("unit", [*ODD, *ODD_TOO])
def test_odd_texts_take_no_long_time(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep, unbalanced or endless. Some are quadratic for other parsers."""
    monkeypatch.setattr(safe_html, "MOST_S", 0.2)
    monkeypatch.setattr(safe_html, "LONGEST", 50_000)
    began = time.thread_time()
    safe_html.clean((unit * safe_html.LONGEST)[: safe_html.LONGEST])
    safe_html.from_markdown((unit * safe_html.LONGEST)[: safe_html.LONGEST])
    assert time.thread_time() - began < 5


def test_a_long_text_is_cut() -> None:
    """Because parsing it takes long."""
    found = safe_html.clean("x" * 300_000)
    assert "300000 characters" in found
    assert len(found) < 210_000
