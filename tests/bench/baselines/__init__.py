"""The same without koco, each a program of its own: `python -m tests.bench.baselines.X`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def run(name: str, *arguments: object) -> dict[str, Any]:
    """Run a baseline to its end; return what it measured."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.baselines.{name}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "RAY_DEDUP_LOGS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"baseline {name} failed: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
