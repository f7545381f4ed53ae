"""The flow's entrypoint: reads what was uploaded (`in/`), and makes a file of its own (`out/`)."""

import csv
import tempfile
from collections import Counter
from pathlib import Path

from koco import Tracer, response

from __PACKAGE__.count import words_in


async def words(tracer: Tracer, documents: list[str], top: int = 3) -> response.Markdown:
    """Count the words of each document; leave a table of all words in `out/words.csv`."""
    total: Counter[str] = Counter()
    rows = ["| document | words | most frequent |", "|---|---:|---|"]
    async with await tracer.fs() as fs:
        for done, path in enumerate(documents):
            await tracer.progress(done, len(documents), path)
            found: Counter[str] = Counter()
            async for local in fs.download(path):  # local copies: one, or all of a folder
                found += words_in(Path(local))
            frequent = ", ".join(word for word, _ in found.most_common(top))
            rows.append(f"| {path} | {found.total():,} | {frequent} |")
            total += found
        with tempfile.TemporaryDirectory() as folder:
            await fs.upload(write_table(total, Path(folder)))
    return response.Markdown("\n".join(rows))


def write_table(found: Counter[str], folder: Path) -> Path:
    """Write a table of all words into a folder, the most frequent first, and return its path."""
    path = folder / "words.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("word", "count"), *found.most_common()])
    return path
