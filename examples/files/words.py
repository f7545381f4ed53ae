"""Words of uploaded documents, counted by parallel Ray tasks that read the files themselves.

koco deploy                                                     # at the root of the repository
koco run files/words -i documents=@docs -i documents=@README.md -f
koco files get - out/words.csv --to -                           # of the latest execution
"""

import asyncio
import csv
import re
import tempfile
from collections import Counter
from pathlib import Path

import ray

from koco import Tracer, response


@ray.remote
def words_in(path: str, tracer: Tracer) -> Counter[str]:
    """Count the words of one document; runs on whichever node has a core to spare."""
    counts: Counter[str] = Counter()
    with tracer.fs_sync() as fs:
        # Line by line from a local copy: a document may be larger than memory.
        for local in fs.download(path):
            with Path(local).open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    counts.update(re.findall(r"[^\W\d_]+", line.lower()))
    tracer.result_sync({"path": path, "words": counts.total()})
    return counts


async def count(tracer: Tracer, documents: list[str], top: int) -> response.Markdown:
    """Count the words of each document; leave a table of all words in `out/words.csv`."""
    counted = await asyncio.gather(*[words_in.remote(path, tracer) for path in documents])
    await save(tracer, sum(counted, Counter()))
    rows = "\n".join(
        f"| {path} | {words.total():,} | {', '.join(word for word, _ in words.most_common(top))} |"
        for path, words in zip(documents, counted, strict=True)
    )
    return response.Markdown(f"| document | words | most frequent |\n|---|---:|---|\n{rows}")


async def save(tracer: Tracer, words: Counter[str]) -> None:
    """Put a table of all words into `out/`, the most frequent first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("word", "count"), *words.most_common()])
        async with await tracer.fs() as fs:
            await fs.upload(path)
