"""Workers start in their environments as Ray's own script would start them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.workers import setup_worker as of_ray

from koco.bootstrap.worker import setup_worker

#: Stands for Ray's `default_worker.py`. Its pid tells whether the script became the worker.
_WORKER = (
    "import json, os, sys\n"
    "print(json.dumps({'argv': sys.argv[1:], 'env': dict(os.environ), 'python': sys.executable,"
    " 'pid': os.getpid()}))\n"
)
#: What a shell or a second start of Python leaves behind.
_OF_THE_WAY = ("_", "SHLVL", "PWD", "OLDPWD", "LC_CTYPE")


def _start(script: str, worker: Path, context: str | None) -> dict[str, Any]:
    # As the raylet does: with words of its own around those for the script.
    given = [] if context is None else [f"--serialized-runtime-env-context={context}"]
    args = ["--node-ip-address=127.0.0.1", "--language=PYTHON", *given, "--startup-token=3"]
    args = [args[0], 'it\'s a "word" $HOME', *args[1:]]
    done = subprocess.Popen(
        [sys.executable, script, str(worker), *args],
        env={**os.environ, "OF_RAYLET": "here", "KOCO_TEST": "old"},
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    found: dict[str, Any] = json.loads(out)
    assert found.pop("pid") == done.pid
    for name in _OF_THE_WAY:
        found["env"].pop(name, None)
    return found


@pytest.mark.parametrize(
    "context",
    [
        RuntimeEnvContext(),
        RuntimeEnvContext(env_vars={"KOCO_TEST": "a b 'c' \"d\"\n\\", "PYTHONPATH": "/x:/y"}),
        RuntimeEnvContext(env_vars={"KOCO_TEST": "${OF_RAYLET}/${NOT_THERE}$OF_RAYLET"}),
        RuntimeEnvContext(py_executable=f"{sys.executable} -B"),
        RuntimeEnvContext(command_prefix=["export", "OF_PREFIX=1", "&&"], env_vars={"A": "b"}),
    ],
    ids=["empty", "variables", "nested variables", "python with options", "command before it"],
)
def test_starts_workers_as_ray_does(tmp_path: Path, context: RuntimeEnvContext) -> None:
    """Arguments, variables and interpreter are the same, and the process is the raylet's."""
    worker = tmp_path / "worker.py"
    worker.write_text(_WORKER)
    ours, theirs = (
        _start(str(each.__file__), worker, context.serialize()) for each in (setup_worker, of_ray)
    )
    assert ours == theirs


def test_knows_everything_that_rays_context_has() -> None:
    """A Ray whose environments have more is given every worker, and starts become slow again."""
    assert json.loads(RuntimeEnvContext().serialize()).keys() == setup_worker._KEYS


def test_imports_little(tmp_path: Path) -> None:
    """Ray's import is what the script is there to save."""
    worker = tmp_path / "worker.py"
    worker.write_text("import sys")
    context = RuntimeEnvContext(env_vars={"A": "b"}).serialize()
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", str(setup_worker.__file__), str(worker)),
            *("--language=PYTHON", f"--serialized-runtime-env-context={context}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "json" in loaded
    assert not {"ray", "koco", "subprocess", "argparse"} & loaded
