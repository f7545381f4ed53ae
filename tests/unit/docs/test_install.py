"""How to get koco. PyPI's `koco` is somebody else's package, so no text may name it to pip."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.checkout import ROOT

#: An installation of a package called koco, with or without extras, options and a version.
_FROM_PYPI = re.compile(r"pip install [^`#\n]*?(?<![/.\w-])koco(?![\w/.-])")


def texts() -> Iterator[Path]:
    yield ROOT / "README.md"
    for folder, pattern in (("docs", "*.md"), ("koco", "**/*.py"), ("templates", "**/*.*")):
        yield from (path for path in (ROOT / folder).glob(pattern) if path.suffix != ".pyc")


def test_no_text_installs_somebody_elses_koco() -> None:
    """Neither docs nor hints: a stranger's code would run with the reader's key."""
    found = {path.name: _FROM_PYPI.findall(path.read_text("utf-8")) for path in texts()}
    assert len(found) > 200
    assert {name: each for name, each in found.items() if each} == {}


def test_the_pattern_tells_them_apart() -> None:
    for text in ("pip install koco", "pip install -U koco", "pip install 'koco[ray]'"):
        assert _FROM_PYPI.search(text), text
    for text in (
        "pip install '.[ray]'",
        "pip install '/path/to/koco[ray]'",
        "pip install ./koco-1.whl",
    ):
        assert not _FROM_PYPI.search(text), text
