"""Processes of releases are prepared before they run an author's code."""

import subprocess
import sys
from pathlib import Path

import pytest

from koco.sdk import worker_setup
from koco.sdk.process.stacks import BUNDLE_MARK


def test_relative_paths_lead_into_the_shipped_folder(tmp_path: Path) -> None:
    """With `runtime.chdir`, for the process and for those that it starts."""
    bundle, elsewhere = tmp_path / "bundle", tmp_path / "elsewhere"
    (bundle / "prompts").mkdir(parents=True)
    elsewhere.mkdir()
    (bundle / BUNDLE_MARK).write_text("{}")
    (bundle / "prompts/a.txt").write_text("hello")
    code = """
import subprocess, sys
from koco.sdk import worker_setup
worker_setup._enter_shipped_folder()
print(open("prompts/a.txt").read(), flush=True)
subprocess.run([sys.executable, "-c", "print(open('prompts/a.txt').read())"])
"""
    root = str(Path(worker_setup.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += [{root!r}, {str(bundle)!r}]\n{code}"],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        check=False,
    )
    assert done.stdout.split() == ["hello", "hello"], done.stderr


def test_a_missing_folder_is_an_error() -> None:
    """Its processes run nothing, in place of reading other files."""
    with pytest.raises(RuntimeError, match="chdir"):
        worker_setup._enter_shipped_folder()
