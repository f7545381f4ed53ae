"""`koco init --template FOLDER`: a template of the user's own, with anything in it."""

import os
from pathlib import Path

import pytest

from koco.cli.main import run

#: Not UTF-8, and UTF-8 with a zero: both are no text. A placeholder in it is none.
PICTURE = b"\x89PNG\r\n\x1a\n\xff__SERVICE__\0"
ZEROS = b"\0__SERVICE__\0"

CODE = '''"""__PACKAGE__ of __SERVICE__."""\r
import logging\r
\r
log = logging.getLogger(__name__)\r
'''

JUNK = (
    *(".venv/lib/site.py", ".pytest_cache/README.md", "demo.egg-info/PKG-INFO", ".git/config"),
    *("__pycache__/app.cpython-311.pyc", "env/pyvenv.cfg", "env/lib/x.py", "node_modules/x/x.js"),
    *(".ruff_cache/x", ".mypy_cache/x", "app.py~", ".app.py.swp", "build/out.txt"),
)


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def names(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_any_file_is_copied_and_text_is_filled_in(here: Path) -> None:
    """Byte for byte where it is no text; Python's own `__name__` is no placeholder."""
    files: dict[str, str | bytes] = {"__PACKAGE__/app.py": CODE, "a/logo.png": PICTURE}
    write(here / "my templates/lab", {**files, "zeros": ZEROS, "koco.yaml": "service: __SERVICE__"})
    assert run(["init", "a lab", "--template", "my templates/lab"]) == 0
    made = here / "a lab"
    assert names(made) == ["a/logo.png", "a_lab/app.py", "koco.yaml", "zeros"]
    assert (made / "a/logo.png").read_bytes() == PICTURE
    assert (made / "zeros").read_bytes() == ZEROS
    filled = CODE.replace("__PACKAGE__", "a_lab").replace("__SERVICE__", "a-lab")
    assert (made / "a_lab/app.py").read_bytes() == filled.encode()
    assert (made / "koco.yaml").read_text() == "service: a-lab"


def test_junk_and_what_git_ignores_are_not_copied(here: Path) -> None:
    """Environments, caches, editors' files; an ignore file is itself a part of the template."""
    write(here / "lab", {**dict.fromkeys(JUNK, "x"), ".gitignore": "build/\n", "app.py": ""})
    assert run(["init", "new", "-t", "./lab"]) == 0
    assert names(here / "new") == [".gitignore", "app.py"]


def test_what_looks_like_a_secret_is_left_out_and_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key would be in every project; an example of such a file is copied."""
    write(here / "lab", {".env": "KEY=x", ".env.example": "KEY=", "app.py": ""})
    assert run(["init", "new", "-t", "lab"]) == 0
    assert names(here / "new") == [".env.example", "app.py"]
    assert "note: .env is left out: it looks like " in capsys.readouterr().err


def test_a_program_stays_one(here: Path) -> None:
    """Its mode is the template's, within the user's umask."""
    write(here / "lab", {"run.sh": "#!/bin/sh\n", "app.py": ""})
    (here / "lab/run.sh").chmod(0o755)
    assert run(["init", "new", "-t", "lab"]) == 0
    assert os.access(here / "new/run.sh", os.X_OK)
    assert not (here / "new/app.py").stat().st_mode & 0o111


def test_its_description_says_what_to_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`template.toml` is not copied; without one, `koco flows` is the next step."""
    about = 'description = "Ours"\nrun = "weigh -i what=gold"\n'
    write(here / "lab", {"template.toml": about, "app.py": ""})
    assert run(["init", "new", "-t", "lab"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "  koco run weigh -i what=gold -f"
    assert names(here / "new") == ["app.py"]
    (here / "lab/template.toml").unlink()
    assert run(["init", "other", "-t", "lab"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "  koco flows"


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("description = Ours", "template.toml: Invalid value (at line 1, column 15)"),
        ("run = 3", "template.toml: run must be text, got 3"),
        ('flow = "x"', "template.toml: unknown key 'flow'"),
        (b'run = "\xff"', "template.toml: 'utf-8' codec"),
    ],
)
def test_a_wrong_description_is_explained(
    here: Path, capsys: pytest.CaptureFixture[str], about: str | bytes, message: str
) -> None:
    """With its place; nothing is written."""
    write(here / "lab", {"template.toml": about})
    assert run(["init", "new", "-t", "./lab"]) == 2
    assert message in capsys.readouterr().err
    assert not (here / "new").exists()


@pytest.mark.parametrize(
    ("named", "code", "message"),
    [
        ("./lob", 4, "./lob: there is no such folder"),
        ("lab/app.py", 2, "lab/app.py is a file"),
        ("helo", 4, "did you mean 'hello'?"),
    ],
)
def test_a_template_that_is_not_there_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], named: str, code: int, message: str
) -> None:
    """As a folder where it can only be one, and as a name otherwise."""
    write(here / "lab", {"app.py": ""})
    assert run(["init", "new", "-t", named]) == code
    assert message in capsys.readouterr().err
    assert not (here / "new").exists()


def test_a_link_out_of_the_template_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it leads to would be copied without being seen."""
    write(here, {"lab/app.py": "", "elsewhere": "x"})
    (here / "lab/link").symlink_to(here / "elsewhere")
    assert run(["init", "new", "-t", "lab"]) == 2
    assert "link is a link that leads out" in capsys.readouterr().err
