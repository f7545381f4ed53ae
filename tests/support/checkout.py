"""Where this checkout is."""

from pathlib import Path

#: The folder that has `koco/`, `docs/` and `tests/`.
ROOT = Path(__file__).parents[2]
