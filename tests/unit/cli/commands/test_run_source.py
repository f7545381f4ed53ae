"""`koco run ./file.py:function`: in this process, without a manifest or a control plane."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.typist import CTRL_C, Typist
from tests.unit.conftest import Cli

CODE = """
    import asyncio
    import pathlib

    from koco import Tracer, forms as F

    def greet(who: str, size: int = 1) -> dict:
        print("hello", who)
        return {"who": who, "size": size}

    async def agrees(tracer: Tracer):
        answer = await tracer.lock("review", {"text": "draft"})
        return answer

    def agrees_sync(tracer: Tracer):
        return tracer.lock_sync("review")

    async def ignored(tracer: Tracer):
        await tracer.lock("review", timeout=0.05)

    def writes(tracer: Tracer, report: str = ""):
        with tracer.fs_sync() as fs:
            text = fs.open(report).read_all().decode() if report else "nothing"
            pathlib.Path("here.txt").write_text(text.upper())
            fs.upload("here.txt")
        return text

    async def calls(tracer: Tracer):
        return await tracer.call("press/publish", {})

    async def receives(tracer: Tracer):
        return await tracer.receive("news")

    async def distributes(tracer: Tracer):
        from ray import cloudpickle  # as a task's arguments are sent
        cloudpickle.dumps([tracer])

    def breaks():
        raise ValueError("no")

    async def sleeps():
        print("sleeping")
        await asyncio.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a file of flows; what is imported of it is forgotten."""
    (tmp_path / "flows_here.py").write_text(textwrap.dedent(CODE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("flows_here", "pack_here", "other_here")):
            del sys.modules[name]


@pytest.mark.parametrize("named", ["./flows_here.py:greet", "flows_here:greet"])
def test_it_runs_a_function_and_prints_its_events(folder: Path, cli: Cli, named: str) -> None:
    """Inputs become what the signature says; the exit code is the outcome."""
    ran = cli("run", named, "-i", "who=Ada", "-i", "size=2")
    assert (ran.code, ran.out) == (0, 'hello Ada\n{"who": "Ada", "size": 2}\n')


def test_ray_is_not_needed(folder: Path) -> None:
    """Nothing imports it unless the flow does."""
    code = "import sys\n\ndef flow(): return sorted({'ray', 'litestar'} & set(sys.modules))\n"
    (folder / "other_here.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "koco", "run", "./other_here.py:flow"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_json_has_the_events(folder: Path, cli: Cli) -> None:
    """One a line, up to the final status."""
    ran = cli("run", "./flows_here.py:greet", "-i", "who=Ada", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [each["seq"] for each in events] == [1, 2, 3]
    assert [each["kind"] for each in events] == ["stdout", "final", "status"]
    assert events[-1]["payload"] == {"status": "finished"}


def test_waiting_silently_prints_the_result_as_json(folder: Path, cli: Cli) -> None:
    """As for a deployed flow."""
    ran = cli("run", "./flows_here.py:greet", "-i", "who=Ada", "--wait", "--json")
    ended = json.loads(ran.out)
    assert (ended["status"], ended["result"]) == ("finished", {"who": "Ada", "size": 1})


def test_an_error_has_its_traceback_and_exit_code(folder: Path, cli: Cli) -> None:
    """The user's own lines only."""
    ran = cli("run", "./flows_here.py:breaks")
    assert ran.code == 1
    assert "ValueError: no" in ran.out
    assert "koco/runner" not in ran.out


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "who: is required"),
        (["-i", "who=Ada", "-i", "size=big"], "size: must be a number"),
        (["-i", "who=Ada", "-i", "colour=red"], "colour:"),
    ],
)
def test_the_signatures_form_checks_inputs(
    folder: Path, cli: Cli, inputs: list[str], message: str
) -> None:
    """As the control plane would: before anything runs."""
    ran = cli("run", "./flows_here.py:greet", *inputs)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize(
    ("named", "code", "hint"),
    [
        ("./flows_her.py:greet", 4, "did you mean ./flows_here.py?"),
        ("flows_her:greet", 4, "did you mean 'flows_here'?"),
        ("./flows_here.py:gret", 4, "did you mean ./flows_here.py:greet?"),
        ("./flows_here.py:zzz", 4, "it has: greet, agrees"),
        ("./flows_here.py", 2, "such as ./flows_here.py:greet"),
    ],
)
def test_names_similar_files_and_functions(
    folder: Path, cli: Cli, named: str, code: int, hint: str
) -> None:
    """Nothing is imported for that."""
    ran = cli("run", named)
    assert "flows_here" not in sys.modules
    assert ran.code == code, ran.err
    assert hint in ran.err


def test_a_file_that_cannot_be_imported_shows_where(folder: Path, cli: Cli) -> None:
    """The traceback is the user's own; exit code 5, as for a deploy."""
    (folder / "other_here.py").write_text("import not_there_at_all\n\ndef run(): ...\n")
    ran = cli("run", "./other_here.py:run")
    assert ran.code == 5
    assert 'other_here.py", line 1' in ran.err
    assert "install 'not_there_at_all'" in ran.err


def test_a_module_of_a_package_imports_its_neighbours(folder: Path, cli: Cli) -> None:
    """The folder above the package is where imports start."""
    package = folder / "src" / "pack_here"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "words.py").write_text("WORD = 'hi'\n")
    (package / "app.py").write_text("from .words import WORD\n\ndef say(): return WORD\n")
    ran = cli("run", "./src/pack_here/app.py:say")
    assert (ran.code, ran.out) == (0, "hi\n")


def test_without_a_terminal_a_lock_is_not_waited_for(folder: Path, cli: Cli) -> None:
    """Exit code 8, as `--wait --no-input` has it, and soon."""
    for function in ("agrees", "agrees_sync"):
        ran = cli("run", f"./flows_here.py:{function}")
        assert ran.code == 8
        assert "it waits for an answer: review" in ran.err


@pytest.mark.parametrize("function", ["calls", "receives"])
def test_what_needs_a_control_plane_is_refused(folder: Path, cli: Cli, function: str) -> None:
    """With the ways that have one."""
    ran = cli("run", f"./flows_here.py:{function}")
    assert ran.code == 1
    assert "no control plane takes part" in ran.out
    assert "--remote" in ran.out


def test_a_tracer_for_a_ray_task_is_refused(folder: Path, cli: Cli) -> None:
    """No task can have a tracer that is here; the message has the ways that have tasks."""
    ran = cli("run", "./flows_here.py:distributes")
    assert ran.code == 1
    assert "UsageError: this tracer stays in its process, so no Ray task can have it" in ran.out
    assert "--remote" in ran.out


def test_files_come_and_go_by_a_folder(folder: Path, cli: Cli) -> None:
    """`@path` is a file of the execution; what the flow makes is in a folder that is told."""
    (folder / "a.txt").write_text("text")
    ran = cli("run", "./flows_here.py:writes", "-i", "report=@a.txt")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "text")
    out = ran.err.splitlines()[-1].removeprefix("files: ")
    assert (Path(out) / "here.txt").read_text() == "TEXT"


def test_a_manifest_nearby_gives_forms(folder: Path, cli: Cli) -> None:
    """The inputs that it declares for this function are those that are checked."""
    (folder / "koco.yaml").write_text(
        "service: hello\nflows:\n- name: greet\n  entrypoint: flows_here:greet\n"
        "  inputs:\n  - {type: text, name: who, required: true, pattern: 'A.*'}\n"
    )
    assert cli("run", "./flows_here.py:greet", "-i", "who=Ada").code == 0
    assert cli("run", "./flows_here.py:greet", "-i", "who=Bob").code == 2


@pytest.mark.parametrize("option", [["--key", "k"], ["--each", "f.csv"]])
def test_options_of_deployed_flows_are_refused(folder: Path, cli: Cli, option: list[str]) -> None:
    """They would do nothing here."""
    ran = cli("run", "./flows_here.py:greet", *option)
    assert ran.code == 2
    assert "needs a deployed flow" in ran.err


def test_remote_is_for_functions_only(folder: Path, cli: Cli) -> None:
    """A flow runs on the cluster anyway."""
    assert cli("run", "hello/greet", "--remote").code == 2


def _typist(folder: Path, function: str, *more: str) -> Typist:
    env = {"KOCO_HOME": os.environ["KOCO_HOME"]}
    args = ["-m", "koco", "run", f"./flows_here.py:{function}", *more]
    return Typist(args, cwd=folder, env=env)


def test_a_terminal_asks_for_missing_inputs_and_answers(folder: Path) -> None:
    """The form's fields first, then the locks, each by its form."""
    with _typist(folder, "greet") as typist:
        typist.types("Ada\n")
        typist.types("x\n")
        typist.sees("must be a number")
        typist.types("3\n")
        typist.sees("hello Ada")
        assert typist.leaves() == 0
    (folder / "koco.yaml").write_text(
        "service: hello\nflows:\n- name: agrees\n  entrypoint: flows_here:agrees\n"
        "locks:\n  review:\n  - {type: boolean, name: ok, label: Publish it}\n"
    )
    with _typist(folder, "agrees") as typist:
        typist.sees("draft")
        typist.sees("Publish it")
        typist.types("yes\n")
        typist.sees('"ok": true')
        assert typist.leaves() == 0


def test_a_lock_expires_at_a_terminal(folder: Path) -> None:
    """The flow gets `TimeoutError`, as from a control plane."""
    with _typist(folder, "ignored") as typist:
        typist.sees("> ")
        time.sleep(0.3)  # longer than the flow waits
        typist.presses("late\n")
        typist.sees("no longer open")
        typist.sees("TimeoutError")
        assert typist.leaves() == 1


@pytest.mark.parametrize("function", ["agrees", "agrees_sync", "sleeps"])
def test_ctrl_c_cancels(folder: Path, function: str) -> None:
    """Soon, wherever the flow is; exit code 130."""
    with _typist(folder, function) as typist:
        typist.types(CTRL_C, after="sleeping" if function == "sleeps" else "> ")
        typist.sees("cancelled")
        assert typist.leaves(within_s=10) == 130
