"""The examples: each folder is complete, and has its test on real Ray."""

import ast
from pathlib import Path

import pytest

from koco.manifest.load import load
from tests.support.checkout import ROOT

FOLDERS = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
TESTS = [
    node.name
    for node in ast.parse((ROOT / "tests/e2e/test_examples.py").read_text()).body
    if isinstance(node, ast.FunctionDef)
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_example_has_a_manifest_a_docstring_and_a_test(folder: Path) -> None:
    """Its service is called like its folder, its module says how to run it."""
    assert load(folder / "koco.yaml").service == folder.name
    [module] = folder.glob("*.py")
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""
    assert "koco run " in docstring
    assert any(name.startswith(f"test_{folder.name}") for name in TESTS)
