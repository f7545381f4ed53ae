"""Imports in the user's code, found without importing it."""

from pathlib import Path

import pytest

from koco.project.conversion import code


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "text",
    [
        "import kodosumi",
        "import kodosumi.core as k",
        "from kodosumi.core import ServeAPI",
        "def f():\n    from kodosumi import response",
        "from . import other",
        "from .other import x",
        "from pkg import other",
        "import pkg.other",
        "from .sub.deep import x",
        "try:\n    import kodosumi\nexcept ImportError:\n    pass",
    ],
)
def test_finds_an_import_of_kodosumi(tmp_path: Path, text: str) -> None:
    """In the module, and in the user's modules that it imports."""
    uses = "from kodosumi.core import Tracer"
    write(tmp_path, pkg__app=text, pkg__other=uses, pkg__sub__deep="from ..other import x")
    assert code.uses_kodosumi("pkg.app", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import kodosumi_examples",
        "from .kodosumi import x",
        "# import kodosumi",
        "x =",
    ],
)
def test_other_imports_do_not_count(tmp_path: Path, text: str) -> None:
    """Nor do comments, and files that are no Python."""
    write(tmp_path, pkg__app=text, pkg__kodosumi="", pkg__other="import kodosumi")
    assert not code.uses_kodosumi("pkg.app", tmp_path)


def test_a_package_of_the_module_counts(tmp_path: Path) -> None:
    """Python imports it, too."""
    write(tmp_path, pkg____init__="", pkg__app="")
    (tmp_path / "pkg/__init__.py").write_text("import kodosumi")
    assert code.uses_kodosumi("pkg.app", tmp_path)


def test_modules_that_import_each_other_end(tmp_path: Path) -> None:
    """Each is read once."""
    write(tmp_path, a="import b", b="import a")
    assert not code.uses_kodosumi("a", tmp_path)


def test_environments_are_not_searched(tmp_path: Path) -> None:
    """They hold other people's modules."""
    write(tmp_path / "env", app="")
    (tmp_path / "env/pyvenv.cfg").write_text("")
    write(tmp_path / ".venv", app="")
    assert code.find_root("app", [], tmp_path) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app = A.bind()", "A"),
        ("app = A.options(x=1).bind(B.bind())", "A"),
        ("app: object = A.bind()", None),
        ("app = ServeAPI()", "ServeAPI"),
        ("other = A.bind()", None),
        ("@serve.deployment(name='Z')\nclass A: ...\napp = A.bind()", "Z"),
    ],
)
def test_finds_the_ingress(tmp_path: Path, text: str, name: str | None) -> None:
    """The class at the start of the chain, by the name that Serve has for it."""
    write(tmp_path, m=text)
    assert code.ingress_of(code.ImportPath.of("m:app"), tmp_path) == name
