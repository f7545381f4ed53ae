"""What releases have nodes install: built, shared, and failing in the installer's words.

Each environment is a copy of Ray's own virtual environment, which takes seconds: few of
them are made here.
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.driver import Koco

#: What is installed is seen where it is imported.
USER = """
def run():
    import six
    return [six.__version__, six.__file__]
"""

PYPROJECT = """
[project]
name = "demo"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["six=={version}", "colorama ; sys_platform == 'win32'"]
"""


def _environments(koco: Koco, installer: str) -> list[Path]:
    """Return the virtual environments that Ray has made."""
    return list(koco.root.glob(f"ray/session_2*/runtime_resources/{installer}/*/virtualenv"))


def _project(koco: Koco, service: str, files: dict[str, str], **runtime: Any) -> Path:
    project = koco.project(service, USER, runtime=runtime)
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    return project


def _lock(project: Path) -> str:
    subprocess.run(
        [sys.executable, "-m", "uv", "lock", "--quiet"], cwd=project, check=True, timeout=60
    )
    return (project / "uv.lock").read_text()


def test_releases_that_install_the_same_share_it(koco: Koco) -> None:
    """A requirements file with an include; the second release starts as if it installed nothing."""
    files = {
        "requirements.txt": "# pinned\n-r more/base.txt\n",
        "more/base.txt": "six==1.16.0  # an old one\n",
    }
    project = _project(koco, "sharing", files, requirements="requirements.txt")
    koco.run("deploy", cwd=project).ok()
    [version, where] = koco.execute("sharing/run").result
    assert version == "1.16.0"
    assert "/pip/" in where
    made = _environments(koco, "pip")
    (project / "note.txt").write_text("another release")
    began = time.monotonic()
    koco.run("deploy", cwd=project).ok()
    took_s = time.monotonic() - began
    release = koco.get("/v1/services/sharing/releases/2")
    assert release["status"] == "live"
    assert _environments(koco, "pip") == made
    assert release["timings"]["environment"] < 10, took_s
    assert koco.execute("sharing/run").result == [version, where]


def test_a_lock_is_installed_as_it_is_and_fails_in_uvs_words(koco: Koco) -> None:
    """A broken one is told of, and the next deploy is not caught by what Ray remembers."""
    files = {"pyproject.toml": PYPROJECT.format(version="1.15.0")}
    project = _project(koco, "locked", files, pyproject="pyproject.toml")
    right = _lock(project)
    digest = "sha256:" + 64 * "0"
    (project / "uv.lock").write_text(re.sub(r"sha256:[0-9a-f]{64}", digest, right))
    broken = koco.run("deploy", cwd=project)
    assert broken.code == 5
    assert "Hash mismatch" in broken.err
    (project / "uv.lock").write_text(right)
    koco.run("deploy", cwd=project).ok()
    [version, where] = koco.execute("locked/run").result
    assert version == "1.15.0"
    assert "/uv/" in where


def test_a_lock_that_does_not_match_is_refused_before_anything_is_built(koco: Koco) -> None:
    """With what brings it up to date."""
    files = {"pyproject.toml": PYPROJECT.format(version="1.15.0")}
    project = _project(koco, "stale", files, pyproject="pyproject.toml")
    _lock(project)
    (project / "pyproject.toml").write_text(PYPROJECT.format(version="1.16.0"))
    made = _environments(koco, "uv")
    stale = koco.run("deploy", cwd=project)
    assert stale.code == 5
    assert "uv.lock" in stale.err
    assert "`uv lock`" in stale.err
    assert _environments(koco, "uv") == made


def test_a_deploy_whose_time_ends_while_packages_are_installed_says_so(koco: Koco) -> None:
    """It is neither the module's fault nor Ray's."""
    project = _project(koco, "hasty", {}, dependencies=["six==1.14.0"])
    done = koco.run("deploy", "--no-wait", cwd=project).ok()
    assert "starting" in done.out
    with koco.http() as client:
        manifest = koco.get("/v1/services/hasty/releases/1")
        body = {"manifest": {**manifest["manifest"], "description": "another"}}
        body |= {"bundle": manifest["bundle"], "timeout_s": 0.1}
        number = client.post("/v1/services/hasty/releases", json=body).json()["number"]
    release = koco.get(f"/v1/services/hasty/releases/{number}", wait=60)
    while release["status"] == "starting":
        release = koco.get(f"/v1/services/hasty/releases/{number}", wait=60)
    assert release["status"] == "failed"
    assert "packages were not installed within 0.1 s" in release["error"]["message"]


def test_another_python_is_told_of_before_anything_is_sent(koco: Koco) -> None:
    """Both versions, and what to do."""
    text = PYPROJECT.format(version="1.15.0").replace(">=3.11", ">=3.99")
    project = _project(koco, "ahead", {"pyproject.toml": text})
    done = koco.run("deploy", cwd=project)
    assert done.code == 2
    assert ">=3.99" in done.err
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"Python {running}" in done.err
