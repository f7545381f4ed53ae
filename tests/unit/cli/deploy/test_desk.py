"""Deploying while files change and output goes to them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from koco.cli.deploy import pack
from koco.cli.deploy import plan as planning
from tests.support.memory_plane import Plane
from tests.support.typist import Typist
from tests.unit.conftest import Cli

MANIFEST = "service: {0}\nflows: [{{name: greet, entrypoint: app:greet}}]\n"
CODE = "def greet(): ...\n"
KOCO = f"{sys.executable} -m koco"


@pytest.fixture
def project(plane: Plane, tmp_path: Path) -> Path:
    """A project with one service, in the current directory."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "koco.toml").write_text('[project]\nname = "demo"\n')
    (root / "koco.yaml").write_text(MANIFEST.format("hello"))
    (root / "app.py").write_text(CODE)
    os.chdir(root)
    plane.releases = [{"status": "live"}]
    return root


def shell(script: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a script in bash, ended by the first error, in pipes as well."""
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script.replace("koco", KOCO, 1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


@pytest.mark.parametrize(
    "script",
    [
        "koco deploy 2>&1 | tee deploy.log",
        "koco deploy --json | tee deploy.log",
        "koco deploy 2>&1 | tee -a deploy.log | cat",
        "koco deploy 2>&1 | cat | tee deploy.log > more.log",
        "koco deploy > deploy.log 2>&1",
        "koco deploy > deploy.log 2> more.log",
        "koco deploy > >(tee deploy.log)",
        "{ koco deploy; } 2>&1 | (tee deploy.log)",
    ],
)
def test_leaves_out_a_log_of_the_deploy_in_its_folder(
    plane: Plane, project: Path, script: str
) -> None:
    """Whichever way it gets there, and though there is one of the last time."""
    (project / "deploy.log").write_text("of the last time")
    ran = shell(script)
    assert ran.returncode == 0, ran
    assert plane.bundled() == [{"app.py": CODE}]
    assert (project / "deploy.log").read_text() != "of the last time"


def test_leaves_out_the_first_log_of_the_deploy(plane: Plane, project: Path) -> None:
    """It may come while the folder is read."""
    ran = shell("koco deploy 2>&1 | tee deploy.log")
    assert ran.returncode == 0, ran
    assert plane.bundled() == [{"app.py": CODE}]
    assert (project / "deploy.log").read_text()


def test_a_log_of_which_nothing_is_known_is_shipped_as_it_was(plane: Plane, project: Path) -> None:
    """As if a program read another one's output and wrote it line by line."""
    script = (
        "import subprocess, sys\n"
        "with open('deploy.log', 'w', buffering=1) as log:\n"
        "    log.write('begin\\n')\n"
        "    with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, "
        "stderr=subprocess.STDOUT, text=True) as koco:\n"
        "        for line in koco.stdout:\n"
        "            log.write(line)\n"
        "sys.exit(koco.returncode)\n"
    )
    args = [sys.executable, "-c", script, sys.executable, "-m", "koco", "deploy"]
    assert subprocess.run(args, check=False, timeout=100).returncode == 0
    [files] = plane.bundled()
    assert files == {"app.py": CODE, "deploy.log": "begin\n"}


#: Saves a file over and over, in an editor's way, with another content each time.
EDITOR = """
import itertools, os, sys, time
by, code = sys.argv[1:]
for number in itertools.count():
    if by == "renaming":
        with open("new.swap", "w") as file:
            file.write(f"{code}# {number}")
        os.rename("app.py", "app.py~")
        os.rename("new.swap", "app.py")
    else:
        with open("app.py", "w") as file:
            file.write(f"{code}# {number}")
    if not number:
        print("saved", flush=True)
    time.sleep(0.1)
"""


@contextmanager
def saving(folder: Path, *, by: str) -> Iterator[None]:
    """Have an editor save app.py meanwhile, far more often than one does."""
    args = [sys.executable, "-c", EDITOR, by, CODE]
    with subprocess.Popen(args, cwd=folder, stdout=subprocess.PIPE) as editor:
        try:
            assert editor.stdout is not None
            editor.stdout.readline()
            yield
        finally:
            editor.kill()


@pytest.mark.parametrize("by", ["renaming", "writing"])
def test_a_deploy_while_an_editor_saves_works(
    plane: Plane, project: Path, cli: Cli, by: str
) -> None:
    """Each time with a complete file, and with the plan of the deployed files."""
    with saving(project, by=by):
        for _ in range(3):
            ran = cli("deploy", "--json")
            assert ran.code == 0, ran
            plan, bundled = [json.loads(line)["payload"] for line in ran.out.splitlines()[:2]]
            assert plan["items"][0]["ships"]["files"] == bundled["files"]
    for files in plane.bundled():
        assert files["app.py"].startswith(CODE)
        assert set(files) <= {"app.py", "new.swap"}


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch, project: Path) -> list[str]:
    """Contents for app.py, one each time that a plan was made."""
    texts: list[str] = []
    ask = planning.ask

    def asking(*args: Any, **more: Any) -> Any:
        plan = ask(*args, **more)
        if texts:
            (project / "app.py").write_text(texts.pop(0))
        return plan

    monkeypatch.setattr(planning, "ask", asking)
    return texts


def test_plans_again_if_files_have_changed(
    plane: Plane, project: Path, cli: Cli, changing: list[str]
) -> None:
    """Only one plan is shown: that of the deployed files."""
    changing += [f"{CODE}# changed\n"]
    ran = cli("deploy")
    assert (ran.code, ran.err.count("hello  create")) == (0, 1)
    assert ran.err.startswith("hello  create  1 file, 27 B\n    + app.py  27 B\n1 to create\n")
    assert plane.bundled() == [{"app.py": f"{CODE}# changed\n"}]
    assert [body["services"][0]["files"][0]["size_bytes"] for body in planned(plane)] == [17, 27]


def test_files_that_were_changed_back_deploy_nothing(
    plane: Plane, project: Path, cli: Cli, changing: list[str]
) -> None:
    """The second plan finds that there is nothing to do, and nothing is sent."""
    changing += [f"{CODE}# changed\n"]
    answers = [{}, {"action": "unchanged", "release": 7}]
    plan = plane.plan

    def planning_again(data: dict[str, Any]) -> dict[str, Any]:
        plane.steps["hello"] = answers.pop(0)
        return plan(data)

    plane.plan = planning_again  # type: ignore[method-assign]
    ran = cli("deploy")
    assert (ran.code, ran.out, ran.err) == (0, "hello  unchanged (release 7)\n", "")
    assert not plane.bundles


def test_files_that_never_rest_are_deployed_as_they_were_read(
    plane: Plane, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts; the planned files are sent."""
    monkeypatch.setattr(pack, "_PATIENCE_S", 0.2)
    packed, count = pack._packed, iter(range(100))

    def packing_slowly(each: Any) -> Any:
        (project / "app.py").write_text(f"{CODE}#{'x' * next(count)}\n")
        return packed(each)

    monkeypatch.setattr(pack, "_packed", packing_slowly)
    assert cli("deploy").code == 0
    [files] = plane.bundled()
    [file] = planned(plane)[-1]["services"][0]["files"]
    assert file["size_bytes"] == len(files["app.py"]) > len(CODE)


def planned(plane: Plane) -> list[Any]:
    """Return what each plan was asked about."""
    return [json.loads(body) if isinstance(body, bytes) else body for body in bodies(plane)]


def bodies(plane: Plane) -> list[Any]:
    return [body for _, path, body in plane.requests if path.partition("?")[0] == "/v1/plan"]


def test_deploys_the_confirmed_plan(plane: Plane, project: Path) -> None:
    """Even if a file changes during the question: that is for the next deploy."""
    plane.steps["old"] = {"action": "remove", "release": 2, "expect": 2}
    with Typist(["-m", "koco", "deploy", "--prune"]) as typist:
        typist.sees("Remove old?")
        (project / "app.py").write_text("changed")
        typist.types("y\n", after="")
        assert typist.leaves() == 0
    assert plane.bundled() == [{"app.py": CODE}]


@pytest.mark.parametrize("has_project", [True, False])
def test_one_folder_makes_one_bundle_from_wherever(
    plane: Plane, project: Path, cli: Cli, tmp_path: Path, has_project: bool
) -> None:
    """Itself, its parent, a folder in it, another one, absolute, through a link: the same."""
    if not has_project:
        (project / "koco.toml").unlink()
    (project / "sub").mkdir()
    (project / "sub/koco.toml").write_text('[project]\nname = "other"\n')
    (project / "sub/x.txt").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/koco.toml").write_text('[project]\nname = "elsewhere"\n')
    (tmp_path / "link").symlink_to("project")
    ways = {
        ".": [[], ["."], ["koco.yaml"], [str(project)], [str(project / "koco.yaml")]],
        "..": [["project"], ["project/koco.yaml"], ["link"], ["link/koco.yaml"], ["./project/"]],
        "../elsewhere": [["../project"], ["../project/koco.yaml"], ["../link/koco.yaml"]],
        "../link": [[], ["koco.yaml"]],
        "sub": [["../koco.yaml"], [".."]],
        "/": [[str(project / "koco.yaml")], [str(tmp_path / "link/koco.yaml")]],
    }
    for folder, several in ways.items():
        os.chdir(project)
        os.chdir(folder)
        for args in several:
            ran = cli("deploy", *args)
            assert ran.code == 0, (folder, args, ran)
    assert plane.bundled() == [{"app.py": CODE, "sub/x.txt": "x"}]


def test_a_project_reached_by_its_manifest_is_the_same_project(
    plane: Plane, project: Path, cli: Cli, tmp_path: Path
) -> None:
    """Its other manifests are not code either, and its name is part of the origin."""
    (project / "koco.toml").write_text(
        '[project]\nname = "demo"\nmanifests = ["*.yaml", "d/*.yaml"]\n'
    )
    (project / "deeper").mkdir()
    (project / "deeper/more.yaml").write_text(MANIFEST.format("more") + "root: ..\n")
    (project / "d").symlink_to("deeper")
    os.chdir(tmp_path)
    assert cli("deploy", "project/koco.yaml").code == 0
    assert plane.bundled() == [{"app.py": CODE}]
    [body] = [body for _, path, body in plane.requests if path.endswith("/releases")]
    assert body["origin"]["project"] == "demo"
    [plan] = planned(plane)
    assert plan["project"] == "demo"
