"""`koco dev` and `koco run FILE:FUNCTION --remote` on a real cluster."""

from pathlib import Path

from tests.support.driver import Koco, eventually
from tests.support.typist import Typist

CODE = """
    def greet(who: str = "you"):
        print("hello", who)
        return {"version": 1}
"""


def services(koco: Koco) -> list[str]:
    return [each["service"] for each in koco.get("/v1/services")["items"]]


def typist(koco: Koco, folder: Path, *args: str) -> Typist:
    return Typist(["-m", "koco", "dev", *args], cwd=folder, env=koco.env, columns=200, rows=50)


def test_a_save_is_deployed_beside_the_shared_service(koco: Koco) -> None:
    """A mistake leaves the last release, the next save mends it; `greet` stays the shared one."""
    koco.deploy("loop", CODE)
    folder = koco.root / "project-loop"
    app = folder / "loop_app.py"
    good = app.read_text()
    with typist(koco, folder, "--run", "greet", "-i", "who=Ada") as person:
        person.sees("q leaves")
        person.sees("hello Ada")
        person.sees('{"version": 1}')
        app.write_text(good.replace('"version": 1', '"version": 2'))
        person.sees('{"version": 2}')
        person.sees('before: finished: {"version": 1}')
        app.write_text("def greet(:\n")
        person.sees("still serves")
        person.sees("SyntaxError")
        app.write_text(good.replace('"version": 1', '"version": 3'))
        person.sees('before: finished: {"version": 2}')
        assert koco.execute("greet").result == {"version": 1}  # the shared one
        assert len(services(koco)) == 2
        person.presses("q")
        assert person.leaves() == 0
    assert services(koco) == ["loop"]


def test_a_killed_one_leaves_nothing(koco: Koco) -> None:
    """Not even a runner."""
    folder = koco.project("killed", CODE)
    with typist(koco, folder) as person:
        person.sees("q leaves")
        person.process.kill()
        eventually(lambda: not [each for each in services(koco) if each.startswith("killed")])


def test_a_function_runs_on_the_cluster_and_is_gone(koco: Koco) -> None:
    """With its outcome as exit code, also if it fails or does not start."""
    folder = koco.root / "loose"
    folder.mkdir()
    (folder / "loose.py").write_text(
        "def good(who: str):\n    print('hi', who)\n\ndef bad():\n    raise ValueError('no')\n"
    )
    before = services(koco)
    done = koco.run("run", "./loose.py:good", "-i", "who=Ada", "--remote", cwd=folder)
    assert (done.code, done.out.splitlines()[0]) == (0, "hi Ada")
    assert koco.run("run", "./loose.py:bad", "--remote", cwd=folder).code == 1
    (folder / "loose.py").write_text("import missing_module\n\ndef good(): ...\n")
    done = koco.run("run", "./loose.py:good", "--remote", cwd=folder)
    assert done.code == 5
    assert "missing_module" in done.err
    assert services(koco) == before
