"""koco as people install it: built, and put into environments without this checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from koco import __version__
from koco.versions import DISTRIBUTION
from tests.support.checkout import ROOT


def call(*words: str | Path, cwd: Path, **env: str | Path) -> str:
    """Run a program outside of the checkout and return its output."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**clean, **{name: str(value) for name, value in env.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with an sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    call(uv(), "build", "-q", "--out-dir", folder, ROOT, cwd=folder)
    return folder


def uv() -> Path:
    return Path(sys.executable).with_name("uv")


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_it_installs_into_a_clean_environment(built: Path, tmp_path: Path, pattern: str) -> None:
    """Wheel and sdist: the command, the import, the templates, and the distribution's own name."""
    file, python = only(built, pattern), tmp_path / "env/bin/python"
    assert file.name.startswith(f"koco_deploy-{__version__}")
    call(uv(), "venv", "-q", "--python", sys.executable, "env", cwd=tmp_path)
    call(uv(), "pip", "install", "-q", "--python", python, file, cwd=tmp_path)
    code = (
        f"import importlib.metadata as m, koco; print(koco.__file__, m.version('{DISTRIBUTION}'))"
    )
    path, version = call(python, "-c", code, DISTRIBUTION, cwd=tmp_path).split()
    assert Path(path).is_relative_to(tmp_path)
    assert version == __version__
    koco = python.with_name("koco")
    assert call(koco, "--version", cwd=tmp_path) == f"koco {__version__}\n"
    call(koco, "init", "hello", cwd=tmp_path, KOCO_HOME=tmp_path)
    assert "greet" in call(koco, "validate", "hello", cwd=tmp_path, KOCO_HOME=tmp_path)


def test_it_is_a_tool_of_uv(built: Path, tmp_path: Path) -> None:
    """`uv tool install` puts the command `koco` on the path."""
    places = {"UV_TOOL_DIR": tmp_path / "tools", "UV_TOOL_BIN_DIR": tmp_path / "bin"}
    wheel = only(built, "*.whl")
    call(uv(), "tool", "install", "-q", "--python", sys.executable, wheel, cwd=tmp_path, **places)
    assert call(tmp_path / "bin/koco", "--version", cwd=tmp_path) == f"koco {__version__}\n"
    assert "hello" in call(tmp_path / "bin/koco", "init", "--list", cwd=tmp_path)


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed")
    call(uv(), "venv", "-q", "--python", sys.executable, "--seed", "env", cwd=folder)
    python = folder / "env/bin/python"
    call(uv(), "pip", "install", "-q", "--python", python, only(built, "*.whl"), cwd=folder)
    return python


@pytest.mark.parametrize("template", ["hello", "endpoint", "agent"])
def test_a_new_project_is_ready_after_uv_sync(
    built: Path, python: Path, tmp_path: Path, template: str
) -> None:
    """Its pyproject.toml names the wheel that this koco came from, which is in no index."""
    call(python, "-m", "koco", "init", "demo", "-t", template, cwd=tmp_path, KOCO_HOME=tmp_path)
    demo, places = tmp_path / "demo", {"UV_PROJECT_ENVIRONMENT": tmp_path / "demo/.venv"}
    call(uv(), "sync", "-q", "--python", sys.executable, cwd=demo, **places)
    assert "passed" in call(demo / ".venv/bin/pytest", cwd=tmp_path, KOCO_HOME=tmp_path)
    listed = call(demo / ".venv/bin/koco", "validate", cwd=demo, KOCO_HOME=tmp_path)
    assert listed.startswith("koco.yaml  demo  ")


def test_a_new_project_is_ready_after_pip_install(python: Path, tmp_path: Path) -> None:
    """Into the environment that has koco already, as README says; tests find its package."""
    call(python, "-m", "koco", "init", "demo", "-t", "hello", cwd=tmp_path, KOCO_HOME=tmp_path)
    demo = tmp_path / "demo"
    pip = (python, "-m", "pip", "install", "-q")
    call(*pip, "-e", ".", "pytest", cwd=demo)
    assert "passed" in call(python, "-m", "pytest", cwd=demo, KOCO_HOME=tmp_path)
    where = call(python, "-c", "import demo; print(demo.__file__)", cwd=tmp_path)
    assert where.strip() == str(demo / "demo/__init__.py")


def test_the_images_steps_work(tmp_path: Path) -> None:
    """The Dockerfile's, in a folder instead of an image, by uv: koco with exactly its Ray."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    build = text.split("\nFROM ")[1]
    source, env = tmp_path / "src", tmp_path / "env"
    source.mkdir()
    (ray,) = re.findall(r"^ARG RAY=(.*)$", build, re.M)
    for instruction, words in re.findall(r"^(RUN|COPY) +(.*)$", build, re.M):
        if instruction == "COPY":
            *names, target = words.split()
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / (target if target != "./" else name))
            continue
        step = words.replace("python -m venv", f"{uv()} venv -q --python {sys.executable}")
        step = step.replace("/opt/koco/bin/pip", f"{uv()} pip").replace("/opt/koco", str(env))
        step = step.replace("--no-cache-dir", "-q").replace("${RAY}", ray)
        call("sh", "-ec", step, cwd=source, VIRTUAL_ENV=env)
    assert call(env / "bin/koco", "--version", cwd=tmp_path) == f"koco {__version__}\n"
    assert call(env / "bin/ray", "--version", cwd=tmp_path).strip() == f"ray, version {ray}"
