"""A service that other services call: it turns a text into a page, and keeps it as a file.

koco deploy                     # at the root of the repository: all examples together
koco run publisher/publish -i title=Hymn -i text='To the night' -f
koco files get - out            # of the latest execution

`examples/research` calls it for its reports.
"""

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from koco import Tracer


async def publish(tracer: Tracer, title: str, text: str) -> dict[str, Any]:
    """Publish a text; return its address, its number of words and its page."""
    page = f"# {title}\n\n{text}\n"
    # Made from the content, so a second publication of the same text has the same address.
    address = f"{slug(title)}-{hashlib.sha256(page.encode()).hexdigest()[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{address}.md"
        path.write_text(page, encoding="utf-8")
        async with await tracer.fs() as fs:
            await fs.upload(path)
    await tracer.result({"published": address})
    return {"address": address, "words": len(text.split()), "page": page}


def slug(title: str) -> str:
    """Return a title as a part of an address."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "untitled"
