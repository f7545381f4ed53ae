"""The work itself: plain functions, which know nothing of koco."""

import re
from collections import Counter
from pathlib import Path


def words_in(path: Path) -> Counter[str]:
    """Count the words of a text file. It is read line by line, so it may be larger than memory."""
    found: Counter[str] = Counter()
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            found.update(re.findall(r"[^\W\d_]+", line.lower()))
    return found
