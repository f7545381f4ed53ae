"""What takes longer than CI has: it runs if `KOCO_LONG` is set."""

import os

import pytest

IS_LONG = bool(os.environ.get("KOCO_LONG"))

#: Marks tests, or parameters of tests, that run only then.
long = pytest.mark.skipif(not IS_LONG, reason="KOCO_LONG=1 runs it")
