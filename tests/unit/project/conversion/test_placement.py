"""The folder to ship."""

from pathlib import Path

import pytest

from koco.project.conversion import conversion
from tests.unit.project.conversion.projects import APP, CODE, convert, manifest, notes, write

ENV = APP + "runtime_env:\n"


@pytest.mark.parametrize("folder", ["", "src", "services/news-service"])
def test_the_root_is_the_folder_of_the_module(tmp_path: Path, folder: str) -> None:
    """The project itself or a folder below it."""
    file = f"{folder}/pkg/app.py" if folder else "pkg/app.py"
    made = convert(tmp_path, "import_path: pkg.app:fast_app", {file: CODE})
    assert manifest(made).root == (folder or ".")
    assert manifest(made).runtime.kodosumi


def test_a_local_working_dir_comes_first(tmp_path: Path) -> None:
    """Another folder may have a module of the same name."""
    made = convert(tmp_path, f"{ENV}  working_dir: ./app", {"app/news/query.py": CODE})
    assert manifest(made).root == "app"


@pytest.mark.parametrize(
    ("environment", "is_current"),
    [
        ("working_dir: .", True),
        ("working_dir: https://github.com/ada/news/archive/main.zip", True),
        ("py_modules: [news]", False),
        ("pip: [six]", False),
    ],
)
def test_a_working_dir_stays_the_current_directory(
    tmp_path: Path, environment: str, is_current: bool
) -> None:
    """Ray makes it that, so relative paths in the code lead into it."""
    made = convert(tmp_path, f"{ENV}  {environment}")
    assert manifest(made).runtime.chdir is is_current


def test_an_entry_of_py_modules_is_the_folder_of_the_module(tmp_path: Path) -> None:
    """So the root is the folder above it."""
    files = {"lib/pkg/app.py": CODE}
    made = convert(
        tmp_path, "import_path: pkg.app:fast_app\nruntime_env: {py_modules: [lib/pkg]}", files
    )
    assert manifest(made).root == "lib"


def test_a_second_folder_of_code_is_noted(tmp_path: Path) -> None:
    """A service ships one folder."""
    files = {"other/more/__init__.py": ""}
    made = convert(tmp_path, f"{ENV}  py_modules: [news, other/more]", files)
    assert list(notes(made)) == ["runtime_env.py_modules"]
    assert "other/more is not in `root`" in notes(made)["runtime_env.py_modules"]


def test_a_folder_that_contains_the_root_needs_no_note(tmp_path: Path) -> None:
    """Nothing has to be moved."""
    text = "import_path: query:fast_app\nruntime_env: {working_dir: .}\n"
    made = convert(tmp_path, text, {"inner/query.py": "", "query.py": ""})
    assert notes(made) == {}


def test_code_on_github_is_downloaded_by_the_user(tmp_path: Path) -> None:
    """The root is already the folder that unpacking makes, and the note has the command."""
    url = "https://github.com/plan-net/example/archive/45aabdd.zip"
    text = f"import_path: far.away:fast_app\nruntime_env: {{py_modules: ['{url}']}}"
    made = convert(tmp_path, text)
    assert manifest(made).root == "example-45aabdd"
    command = f"`curl -Lo code.zip {url} && python -m zipfile -e code.zip .`"
    assert command in notes(made)["runtime_env.py_modules"]
    assert manifest(made).runtime.kodosumi  # only Kodosumi has files of this form


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("a/b/archive/refs/heads/main.zip", "b-main"),
        ("a/b/archive/refs/tags/v1.2.zip", "b-1.2"),
        ("a/b/archive/refs/heads/fix/it.zip", "b-fix-it"),
    ],
)
def test_the_archives_of_github_have_known_folders(tmp_path: Path, path: str, folder: str) -> None:
    """Named after the repository and the branch, tag or commit."""
    text = f"import_path: far.away:x\nruntime_env: {{working_dir: 'https://github.com/{path}'}}"
    assert manifest(convert(tmp_path, text)).root == folder


@pytest.mark.parametrize("url", ["s3://bucket/code.zip", "gs://b/c.zip", "https://x.org/c.zip"])
def test_other_remote_code_is_noted(tmp_path: Path, url: str) -> None:
    """The user has to place it."""
    text = f"import_path: far.away:x\nruntime_env: {{working_dir: '{url}'}}"
    made = convert(tmp_path, text)
    assert f"download {url} and set `root` to it" in notes(made)["runtime_env.working_dir"]
    assert manifest(made).root == "."


def test_a_missing_module_is_noted(tmp_path: Path) -> None:
    """At `root`, which can mend it."""
    made = convert(tmp_path, "import_path: far.away:x")
    assert "there is no far/away.py here" in notes(made)["import_path"]


def test_the_project_may_be_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is looked for in the current folder, too."""
    write(tmp_path / "old", {"data/config/news.yaml": APP})
    monkeypatch.chdir(tmp_path / "old")
    made = conversion.convert(Path("data/config/news.yaml"), tmp_path / "new")
    assert manifest(made).root == "../old"
