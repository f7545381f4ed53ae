"""Deploying from a desk, with a real control plane: logs, editors, keys beside the code."""

import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.driver import Done, Koco

#: A flow that tells which files it was shipped with.
CODE = """
    import os

    def files():
        root = os.path.dirname(os.path.abspath(__file__))
        found = (os.path.join(at, name) for at, _, names in os.walk(root) for name in names)
        shipped = (os.path.relpath(path, root) for path in found)
        return sorted(name for name in shipped if "bundle.json" not in name and ".pyc" not in name)
"""
MODULE = "desk_app.py"


@pytest.fixture
def desk(koco: Koco) -> Path:
    """A project's folder without any ignore file, its service not deployed."""
    koco.run("undeploy", "desk", "--cancel", "--yes")  # other tests may have deployed one
    shutil.rmtree(koco.root / "project-desk", ignore_errors=True)
    return koco.project("desk", CODE)


def shell(koco: Koco, folder: Path, script: str) -> Done:
    """Run a script in bash, with `koco` and pipefail."""
    function = f'koco() {{ {shlex.quote(sys.executable)} -m koco "$@"; }}; set -eo pipefail; '
    done = subprocess.run(
        ["bash", "-c", function + script],
        cwd=folder,
        env=koco.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def shipped(koco: Koco) -> list[str]:
    found: list[str] = koco.execute("desk/files").result
    return found


@pytest.mark.parametrize("way", ["2>&1 | tee deploy.log", "> deploy.log 2>&1"])
def test_a_deploy_may_be_logged_in_its_folder(koco: Koco, desk: Path, way: str) -> None:
    """The log is not shipped, so the next one has nothing to do, however often."""
    shell(koco, desk, f"koco deploy {way}").ok()
    assert "live" in (desk / "deploy.log").read_text()
    assert shipped(koco) == [MODULE]
    for _ in range(2):
        shell(koco, desk, f"koco deploy {way}").ok()
        assert "unchanged (release" in (desk / "deploy.log").read_text()


def test_a_deploy_while_an_editor_saves_works(koco: Koco, desk: Path) -> None:
    """Three of three; each ships the module whole, as it was at some moment."""
    path, is_over = desk / MODULE, threading.Event()
    code = path.read_text()

    def save() -> None:
        number = 0
        while not is_over.wait(0.1):
            number += 1
            (desk / f"{MODULE}.tmp").write_text(f"{code}# {number}\n")
            path.rename(desk / f"{MODULE}~")
            (desk / f"{MODULE}.tmp").rename(path)
            (desk / ".#lock").unlink(missing_ok=True)
            (desk / ".#lock").symlink_to("ada@desk.1")

    thread = threading.Thread(target=save)
    thread.start()
    try:
        for _ in range(3):
            koco.run("deploy", cwd=desk).ok()
            assert shipped(koco) == [MODULE]
    finally:
        is_over.set()
        thread.join()


def test_keys_beside_the_code_are_not_shipped(koco: Koco, desk: Path) -> None:
    """Without any ignore file; the plan and the deploy name them, and an include ships one."""
    (desk / ".aws").mkdir()
    secrets = [".env", ".env.local", "id_rsa", "tls.pem", "credentials.json", ".aws/credentials"]
    for name in [*secrets, ".env.example"]:
        (desk / name).write_text("x")
    (desk / "deploy_key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    named = {*secrets, "deploy_key", ".aws/"} - {".aws/credentials"}
    item = koco.run("plan", "--json", cwd=desk).ok().json()["items"][0]
    assert {each["path"] for each in item["left_out"]} == named
    assert [each["path"] for each in item["files"]] == [".env.example", MODULE]
    for done in (koco.run("plan", cwd=desk).ok(), koco.run("deploy", cwd=desk).ok()):
        told = [line for line in (done.out + done.err).splitlines() if "left out: " in line]
        assert {line.split()[1] for line in told} == named
        assert "2 files, " in done.out + done.err
    assert shipped(koco) == [".env.example", MODULE]

    koco.project("desk", CODE, runtime={"include": [".env"]})
    koco.run("deploy", cwd=desk).ok()
    assert shipped(koco) == [".env", ".env.example", MODULE]


def test_one_folder_is_one_bundle_from_wherever(koco: Koco, desk: Path) -> None:
    """From its parent, by its manifest, through a link: nothing has changed."""
    koco.run("deploy", cwd=desk).ok()
    link = koco.root / "link"
    link.symlink_to(desk)
    for folder, *args in (
        (desk.parent, desk.name),
        (desk.parent, f"{desk.name}/koco.yaml"),
        (Path("/"), str(desk / "koco.yaml")),
        (desk.parent, "link/koco.yaml"),
        (link, "."),
    ):
        done = koco.run("plan", "--exit-code", *args, cwd=folder).ok()
        assert done.out == "1 unchanged\n"
    link.unlink()
    assert shipped(koco) == [MODULE]
