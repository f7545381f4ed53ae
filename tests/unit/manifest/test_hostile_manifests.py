"""Attacks by manifests and `koco.toml`: none of them runs code, and none takes long."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from koco.errors import ManifestError
from koco.manifest import load, requirements
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

MB = 1024 * 1024
HEAD = "service: svc\nflows:\n- name: f\n  entrypoint: app:f\n"
#: Nine levels of nine each: 387 million values in 400 bytes.
LAUGHS = "a0: &a0 [lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + LAUGHS,
        "x: &x\n  <<: *x\n",
        "&a [*a]",
        "x: &x {a: &y {b: *x, c: *y}}",
        f"x: {'[' * 3000}{']' * 3000}",
        f"x: {'{a: ' * 10_000}1{'}' * 10_000}",
        "".join(f"{' ' * n}a:\n" for n in range(1300)),
        f"x: {'- ' * 10_000}a",
        "x: " + "9" * 500_000,
        "x: 0x" + "f" * 500_000,
        "x: 1e" + "9" * 500_000,
        "x: " + "&a " * 100_000,
        "? " * 100_000,
        "x: " + "!" * 100_000,
        "%TAG ! tag:yaml.org,2002:python/\n---\nx: !name:os.system\n",
        "x: '" + "\\x41" * 100_000,
        "a: [" + "1," * 200_000,
    ],
    ids=lambda text: text[:20],
)
def test_refuses_manifests_that_expand_endlessly(text: str) -> None:
    """Anchors, levels and digits."""
    began = time.thread_time()
    with pytest.raises(ManifestError):
        load.parse(text)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("depth", [50, 100, 200, 300, 330, 400, 500, 700])
def test_refuses_any_depth(depth: int) -> None:
    """Also at the exact limits of the readers."""
    for text in (f"runtime: {'[' * depth}{']' * depth}", f"env: {'{a: ' * depth}1{'}' * depth}"):
        with pytest.raises(ManifestError):
            load.parse(HEAD + text)


@pytest.mark.parametrize(
    "tag",
    [
        *("!!python/object/apply:os.system ['touch pwned']", "!!python/name:os.system ''"),
        *("!!python/module:os ''", "!!python/object/new:os.system [x]", "!!python/tuple [a]"),
        *("!!binary aGFsbG8=", "!!set {a}", "!!omap [a: 1]", "!!timestamp 2026-01-31", "!evil x"),
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
    ],
)
def test_tags_create_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    """In any position, keys included."""
    monkeypatch.chdir(tmp_path)
    for text in (f"{HEAD}summary: {tag}\n", f"{HEAD}? {tag}\n: x\n", f"--- {tag}\n"):
        with pytest.raises(ManifestError):
            load.parse(text)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    """Nor is an endless file."""
    large = tmp_path / "koco.yaml"
    with large.open("wb") as file:
        file.truncate(100 * MB)
    for path in (large, Path("/dev/zero")):
        began = time.thread_time()
        with pytest.raises(ManifestError, match="longer than"):
            load.load(path)
        assert time.thread_time() - began < 1


@pytest.mark.parametrize("command", ["validate", "plan", "deploy"])
def test_commands_refuse_them_with_a_message(
    plane: Plane, cli: Cli, tmp_path: Path, command: str
) -> None:
    """As for a typo. Nothing is sent."""
    (tmp_path / "app.py").write_text("def f(): ...\n")
    (tmp_path / "koco.toml").write_text('[project]\nname = "p"\n')
    (tmp_path / "koco.yaml").write_text(HEAD + LAUGHS)
    ran = cli(command)
    assert ran.code == 2
    assert "more than 20000 values" in ran.err
    assert not plane.requests


@pytest.mark.parametrize(
    "text",
    [f"x = {'[' * 5000}{']' * 5000}", f"x = {'{a=' * 5000}1{'}' * 5000}", "x = " + "9" * 100_000],
    ids=["lists", "tables", "digits"],
)
def test_refuses_a_project_file_that_is_nested_too_deep(
    plane: Plane, cli: Cli, tmp_path: Path, text: str
) -> None:
    """Python's reader raises an error of its own."""
    (tmp_path / "koco.toml").write_text(text)
    ran = cli("validate")
    assert ran.code == 2, ran.err
    assert "koco.toml" in ran.err


FLOW = {"name": "f", "entrypoint": "app:f"}


def flow(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"flows": [{**FLOW, "inputs": list(elements)}]}


@pytest.mark.parametrize(
    "data",
    [
        flow({"type": "select", "name": "x", "option": [f"o{n}" for n in range(20_000)]}),
        flow({"type": "select", "name": "x", "option": ["o"] * 20_000}),
        flow(
            *({"type": "text", "name": f"n{n}", "pattern": rf"\w{{1,20}}{n}"} for n in range(999))
        ),
        flow(
            *({"type": "text", "name": f"n{n}", "pattern": rf"\w{{1,999}}{n}"} for n in range(99))
        ),
        {"flows": [FLOW], "runtime": {"files": ["*a" * 2000] * 100}},
        {"flows": [FLOW], "runtime": {"env": {"A": "eyJ-" * 500_000, "B": "sk-" * 500_000}}},
        {"flows": [FLOW], "runtime": {"env": {"A": "a+" * 500_000, "B": "a-" * 500_000}}},
        {"flows": [FLOW], "runtime": {"dependencies": [f"a{' ' * 500_000}b", "a[" * 5000]}},
        {"flows": [FLOW], "schedule": [{"flow": "f", "cron": "0 0 30 2 *"}] * 1000},
        {"flows": [FLOW], "schedule": [{"flow": "f", "cron": f"{'*/1,' * 5000}1 * * * *"}]},
    ],
)
def test_checks_manifests_sent_as_json_quickly(data: dict[str, Any]) -> None:
    """In the control plane, the time must only grow with the length."""
    began = time.thread_time()
    with contextlib.suppress(ManifestError):
        load.check({"service": "svc", **data})
    assert time.thread_time() - began < 3


@pytest.mark.parametrize("line", [f"a{' ' * 200_000}b", " " * 200_000 + "#", f"{' #' * 100_000}"])
def test_reads_lines_of_requirements_quickly(line: str) -> None:
    """However many blanks it has."""
    began = time.thread_time()
    requirements.read("requirements.txt", lambda _: line)
    assert time.thread_time() - began < 1
