"""A secret is there wherever code of a service's may first run, before it runs, and masked."""

import copy
import subprocess
from pathlib import Path

import pytest

from tests.support.driver import Ended, Koco, eventually, kill9

#: Nothing else has this in it.
VALUE = "canary-9c41-equipped"

#: A module that is first imported wherever it is named, and reads and tells the secret at once.
PROBE = """
import os, sys

VALUE = os.environ["LLM_KEY"]
print("{name} has", VALUE)
print("{name} has", VALUE, file=sys.stderr, flush=True)

def size(*_):
    return len(VALUE)

def main():
    sys.exit(0 if size() == {size} else 1)

if __name__ == "__main__":
    main()
"""

PLACES = ("in_task", "in_actor", "in_nested", "in_subprocess", "in_spawned", "in_async", "in_late")

EVERYWHERE = """
    import asyncio, multiprocessing, os, subprocess, sys, time

    import ray

    AT_IMPORT = len(os.environ["LLM_KEY"])
    print("runner has", os.environ["LLM_KEY"], flush=True)

    async def everywhere(tracer):
        # Functions of modules that nothing has imported here: the worker is the first.
        task = ray.remote(num_cpus=0)(_lazily("in_task"))
        nested = ray.remote(num_cpus=0)(_nested)
        told = {"runner": AT_IMPORT, "task": await task.remote()}
        told["nested"] = await nested.remote()
        actor = ray.remote(num_cpus=0)(_Actor).remote()
        told["actor"] = await actor.size.remote()
        told["async actor"] = await ray.remote(num_cpus=0)(_Async).remote().size.remote()
        program = [sys.executable, "-m", "in_subprocess"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        told["subprocess"] = (await asyncio.to_thread(subprocess.run, program, env=env)).returncode
        told["spawned"] = await asyncio.to_thread(_spawned)
        return told

    async def late(tracer, go: str):
        await tracer.result("waiting")
        while not os.path.exists(go):
            await asyncio.sleep(0.02)
        return await ray.remote(num_cpus=0)(_lazily("in_late")).remote()

    async def refused(tracer, go: str):
        await tracer.result("waiting")
        while not os.path.exists(go):
            await asyncio.sleep(0.02)
        # An environment that no process has yet.
        environment = {"env_vars": {"ANEW": "1"}}
        task = ray.remote(num_cpus=0, runtime_env=environment)(_nested)
        return await task.remote()

    def _lazily(module):
        def work():
            return __import__(module).size()
        return work

    def _nested():
        return ray.get(ray.remote(num_cpus=0)(_lazily("in_nested")).remote())

    class _Actor:
        def __init__(self):
            import in_actor
            self.found = in_actor.size()
        def size(self):
            return self.found

    class _Async:
        async def size(self):
            import in_async
            return in_async.size()

    def _spawned():
        import in_spawned
        process = multiprocessing.get_context("spawn").Process(target=in_spawned.main)
        process.start()
        process.join()
        return process.exitcode
"""


@pytest.fixture(scope="module")
def secret(koco: Koco) -> Koco:
    koco.run("secret", "set", "LLM_KEY", "-", stdin=VALUE).ok()
    return koco


def test_the_parallel_template_has_secrets_and_ends(secret: Koco) -> None:
    """Tasks that are called by name import the service's module as Ray loads the function."""
    root = secret.root / "par"
    secret.run("init", str(root), "-t", "parallel", "--name", "par").ok()
    manifest = root / "koco.yaml"
    manifest.write_text(manifest.read_text() + "\nsecrets: [LLM_KEY]\n")
    secret.run("deploy", cwd=root).ok()
    done = secret.run("run", "par/primes", "-i", "limit=2000", "-f", "--timeout", "40", cwd=root)
    assert "There are **303** primes" in done.ok().out


@pytest.fixture(scope="module")
def places(secret: Koco) -> Koco:
    root = secret.project("places", EVERYWHERE, secrets=["LLM_KEY"])
    for name in PLACES:
        (root / f"{name}.py").write_text(PROBE.format(name=name, size=len(VALUE)))
    secret.run("deploy", cwd=root).ok()
    mine = copy.copy(secret)
    mine.service = "places"
    return mine


def test_a_secret_is_there_wherever_code_may_first_run(places: Koco) -> None:
    """At the top of modules that each kind of process is the first to import; and masked there."""
    ended = places.execute("everywhere")
    assert ended.status == "finished", ended.events[-2]
    sizes = ("runner", "task", "nested", "actor", "async actor")
    assert ended.result == {**dict.fromkeys(sizes, len(VALUE)), "subprocess": 0, "spawned": 0}
    assert VALUE not in str(ended.events)
    masked = {name for name in PLACES[:-1] if _says(places.root, f"{name} has ********")}
    in_events = {name for name in PLACES if f"{name} has ********" in str(ended.events)}
    assert masked | in_events == set(PLACES[:-1])
    assert not _says(places.root, VALUE)


def _says(root: Path, text: str) -> list[str]:
    """Return the files below a folder that have a text in them."""
    command = ["grep", "-rlaF", text, str(root)]
    # Its own sources have neither the mask nor the value.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def test_a_process_that_starts_while_the_control_plane_is_away_waits_for_it(places: Koco) -> None:
    """It has no secrets before, and runs nothing without them."""
    go = places.root / "go-late"
    fid = places.launch("late", go=str(go))
    eventually(lambda: any(each["payload"] == "waiting" for each in places.get_events(fid)))
    kill9(places.control_pid())
    go.touch()
    ended = Ended(fid, eventually(lambda: places.events(fid)))
    assert ended.result == len(VALUE)


def test_a_process_without_access_ends_and_says_why(places: Koco) -> None:
    """What its task raises is the cause, and so is in its log; nothing of the service's runs."""
    go = places.root / "go-refused"
    fid = places.launch("refused", go=str(go))
    eventually(lambda: any(each["payload"] == "waiting" for each in places.get_events(fid)))
    places.run("secret", "unset", "LLM_KEY", "--force").ok()
    try:
        go.touch()
        ended = Ended(fid, places.events(fid))
        assert ended.status == "error"
        assert "there is no secret 'LLM_KEY'" in ended.error["message"], ended.error
        assert _says(places.root / "ray", "runs nothing: there is no secret 'LLM_KEY'")
    finally:
        places.run("secret", "set", "LLM_KEY", "-", stdin=VALUE).ok()
