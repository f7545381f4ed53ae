"""Servers that a module starts when it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from koco.sdk import worker_setup

CHECK = """
import sys
sys.path += [{root!r}, {folder!r}]
{before}
from koco.errors import DeployError
from koco.sdk.entrypoints import loader
try:
    print(loader.find("starts:app"))
except DeployError as exc:
    print("refused", exc.message, exc.hint)
"""


def find(tmp_path: Path, module: str, before: str = "") -> str:
    """Import a module as koco does, in a process of its own."""
    (tmp_path / "starts.py").write_text(module)
    root = str(Path(worker_setup.__file__).parents[2])
    code = CHECK.format(root=root, folder=str(tmp_path), before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("before", ["", "import uvicorn"])
@pytest.mark.parametrize(
    "call", ["import uvicorn\nuvicorn.run(app)", "from uvicorn import run\nrun(app)"]
)
def test_a_server_at_import_is_refused_with_its_line(
    tmp_path: Path, call: str, before: str
) -> None:
    """Whether its library was imported before or not, and under any name."""
    said = find(tmp_path, f"app = 'x'\n{call}\n", before)
    assert f"refused {tmp_path}/starts.py:3: uvicorn.run is called" in said
    assert "__main__" in said


def test_serve_run_at_import_is_refused(tmp_path: Path) -> None:
    """It would deploy the module again from within its own replica."""
    said = find(tmp_path, "from ray import serve\napp = 'x'\n\nserve.run(app, name='by-hand')\n")
    assert f"refused {tmp_path}/starts.py:4: ray.serve.run is called" in said


def test_calls_at_other_times_are_the_authors(tmp_path: Path) -> None:
    """Below `__main__`, and in functions that somebody calls later."""
    module = """
import uvicorn
def app(): return uvicorn.run(None, host=3)
if __name__ == "__main__":
    uvicorn.run(app)
"""
    code = "\nfrom koco.sdk.entrypoints import loader\ntry: loader.find('starts:app')()"
    code += "\nexcept Exception as exc: print('called', type(exc).__name__)\n"
    said = find(tmp_path, module, code)
    assert said.startswith("called") or "DeployError" not in said
    assert "refused" not in said
