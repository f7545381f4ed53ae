"""`koco dev` and `koco run FILE:FUNCTION --remote` on a real cluster."""

import contextlib
from pathlib import Path

import psutil

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


TASKS = """
    import ray
    import part

    @ray.remote
    def child():
        import part
        return part.VALUE

    def add(who: str = "you"):
        return [part.VALUE, ray.get(child.remote())]
"""


def test_ray_tasks_of_each_save_have_its_code(koco: Koco) -> None:
    """Also if the runner was started before the save; afterwards no runner is left."""
    folder = koco.project("spare", TASKS, flows=[{"name": "add", "entrypoint": "spare_app:add"}])
    (folder / "part.py").write_text("VALUE = 0\n")
    with typist(koco, folder, "--run", "add") as person:
        person.sees("[0, 0]")
        for number in (1, 2, 3):
            eventually(lambda: runners(koco, "spare~", releases=2), within_s=60)
            (folder / "part.py").write_text(f"VALUE = {number}\n")
            person.sees(f"[{number}, {number}]")
        person.presses("q")
        assert person.leaves() == 0
    eventually(lambda: not runners(koco, "spare~", releases=1), within_s=60)


def runners(koco: Koco, service: str, *, releases: int) -> bool:
    """Return whether runners of so many releases of a service have a process."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            env = process.environ()
            if "ray::Runner" in " ".join(process.cmdline()):
                found.add((env.get("KOCO_SERVICE", ""), env.get("KOCO_RELEASE")))
    return len([name for name, _ in found if name.startswith(service)]) >= releases


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
