"""Requirements files, read like pip does, and locks, read like uv does."""

import zipfile
from pathlib import Path

import pytest

from koco.cluster.runners import EnvironmentFailed, _environment_failed
from koco.control.deploy import packages
from koco.manifest import requirements
from koco.manifest.model import Runtime

FILES = {
    "reqs/main.txt": """\
# what the service needs
six==1.16.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb  # of the wheel
--extra-index-url https://example.com/simple
-r base.txt
--requirement=more/extra.txt
pkg @ https://example.com/pkg-1.0-py3-none-any.whl#sha256=11
git+https://example.com/repo.git@v1
""",
    "reqs/base.txt": "iniconfig ; python_version < '3.99'\n",
    "reqs/more/extra.txt": "\ufeffcolorama>=0.4   # with a mark\n",
}


def test_merges_included_files() -> None:
    """Continued lines, comments, hashes, options and URLs work as in pip."""
    found = requirements.read("reqs/main.txt", FILES.get)
    assert found.problems == []
    assert found.lines == [
        "six==1.16.0 --hash=sha256:aa --hash=sha256:bb",
        "--extra-index-url https://example.com/simple",
        "iniconfig ; python_version < '3.99'",
        "colorama>=0.4",
        "pkg @ https://example.com/pkg-1.0-py3-none-any.whl#sha256=11",
        "git+https://example.com/repo.git@v1",
    ]


def test_reads_a_file_once() -> None:
    """Otherwise forty small files would give a billion lines. A long chain is a problem."""
    files = {f"{n}.txt": f"-r {n + 1}.txt\n" * 2 for n in range(40)} | {"40.txt": "six\n"}
    assert requirements.read("0.txt", files.get) == requirements.Requirements(["six"])
    chain = {f"{n}.txt": f"-r {n + 1}.txt\n" for n in range(2000)}
    [problem] = requirements.read("0.txt", chain.get).problems
    assert problem == "50.txt:1:1: 51.txt is included through more than 50 files"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-r missing.txt", "missing.txt is not among the files to ship"),
        ("-r ../outside.txt", "is not among the files to ship"),
        ("-r https://example.com/r.txt", "is not a file of the bundle"),
        ("-r main.txt", "includes itself"),
        ("-c constraints.txt", "no constraints file"),
        ("-e .", "editable"),
        ("./wheels/six-1.16.0-py2.py3-none-any.whl", "is a path"),
        ("six-1.16.0.tar.gz", "is a path"),
        ("not a requirement", "is not a requirement"),
    ],
)
def test_refuses_lines_that_nodes_cannot_use(line: str, said: str) -> None:
    """With file and line."""
    found = requirements.read("main.txt", {"main.txt": f"six\n\n{line}\n"}.get)
    [problem] = found.problems
    assert problem.startswith("main.txt:3:1: ")
    assert said in problem


PYPROJECT = """
[project]
name = "demo"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["six==1.16.0"]
"""

#: Of another registry than any that is configured here.
LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "demo"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "six" }]

[package.metadata]
requires-dist = [{ name = "six", specifier = "==1.16.0" }]

[[package]]
name = "six"
version = "1.16.0"
source = { registry = "https://registry.example/simple" }
wheels = [{ url = "https://registry.example/six-1.16.0-py2.py3-none-any.whl", hash = \
"sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254", size = 11053 }]
"""


def bundled(tmp_path: Path, files: dict[str, str]) -> Path:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_exports_a_lock_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any registry in the lock, and any settings of this node."""
    (tmp_path / "uv").mkdir()
    settings = '[[index]]\nurl = "http://127.0.0.1:9/simple"\ndefault = true\n'
    (tmp_path / "uv/uv.toml").write_text(settings)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    bundle = bundled(tmp_path, {"sub/pyproject.toml": PYPROJECT, "sub/uv.lock": LOCK})
    installer, lines = packages.to_install(bundle, Runtime(pyproject="sub/pyproject.toml"))
    assert installer == "uv"
    assert lines == [
        "six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
    ]


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        ({"pyproject.toml": PYPROJECT}, "there is no uv.lock", "`uv lock` creates it"),
        (
            {"pyproject.toml": PYPROJECT.replace("1.16", "1.15"), "uv.lock": LOCK},
            "lacks packages that",
            "`uv lock` brings",
        ),
        ({"pyproject.toml": PYPROJECT, "uv.lock": "no TOML"}, "Failed to parse", "`uv lock`"),
    ],
    ids=["none", "stale", "broken"],
)
def test_refuses_an_unusable_lock_with_a_hint(
    tmp_path: Path, files: dict[str, str], said: str, hint: str
) -> None:
    """With uv's own message."""
    with pytest.raises(EnvironmentFailed, match=said) as caught:
        packages.to_install(bundled(tmp_path, files), Runtime(pyproject="pyproject.toml"))
    assert hint in str(caught.value.hint)


def test_merges_requirements_and_dependencies(tmp_path: Path) -> None:
    """The manifest's `dependencies` come first."""
    bundle = bundled(tmp_path, {"requirements.txt": "six\n"})
    runtime = Runtime(dependencies=("iniconfig",), requirements="requirements.txt")
    assert packages.to_install(bundle, runtime) == ("pip", ["iniconfig", "six"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Ray said. Last 50 lines of stdout:\n  ERROR: Could not find a version that satisfies"
            " x\n  ERROR: No matching distribution found for x\n",
            "No matching distribution found for x",
        ),
        (
            "lines of stdout:\n  Using Python 3.11\n  error: No solution found when resolving"
            " dependencies:\n    cause: Because there is no x, it cannot be.\n",
            "No solution found when resolving dependencies: Because there is no x, it cannot be.",
        ),
        (
            "lines of stdout:\n  error: Failed to fetch\n  Caused by: outer\n  Caused by: inner\n",
            "Failed to fetch: inner",
        ),
        ("Something else\nthe last line\n", "the last line"),
    ],
    ids=["pip", "uv", "an older uv", "neither"],
)
def test_reports_the_installers_own_message(text: str, said: str) -> None:
    """Without Ray's text around it."""
    assert _environment_failed(text).message == f"the environment could not be built: {said}"
