"""The code on a page of docs/, as a module: what is shown there is what is run."""

import re
import sys
import types

from tests.support.checkout import ROOT

_DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def module(page: str) -> types.ModuleType:
    """Run every block of Python on `docs/<page>.md`, in order, as one module; return it."""
    text = (_DOCS / f"{page}.md").read_text("utf-8")
    made = types.ModuleType(f"page_{page}")
    sys.modules[made.__name__] = made  # dataclasses and pickles look their module up
    for found in _BLOCK.finditer(text):
        # On its own line of the page, so that a traceback leads there.
        code = "\n" * text.count("\n", 0, found.start(1)) + found[1]
        exec(compile(code, str(_DOCS / f"{page}.md"), "exec"), made.__dict__)
    return made
