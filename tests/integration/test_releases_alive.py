"""Releases that go live must work: superseded ones, ones that crash, and what waits for room."""

from pathlib import Path

from tests.integration.test_endpoints import serve_details
from tests.support.driver import APP, Koco, calm_s, eventually, kill9

#: As an app comes that was written for Ray Serve: Serve itself would ask for one CPU.
PORTED = (
    APP
    + """
    from ray import serve

    @serve.deployment(graceful_shutdown_timeout_s=0.1, graceful_shutdown_wait_loop_s=0.1)
    @serve.ingress(app)
    class Front:
        pass

    bound = Front.bind()
"""
)


def test_a_newer_deploy_supersedes_one_that_is_starting(koco: Koco) -> None:
    """Its Serve application is withdrawn, whoever waits exits with 5, and the newer goes live."""
    slow = PORTED.replace("class Front:\n        pass", _SLOW)
    app = {"app": "superseded_app:bound", "flows": []}
    first = koco.popen("deploy", cwd=koco.project("superseded", slow, **app))
    eventually(lambda: "koco-superseded-1" in serve_details(koco)["applications"])
    began = calm_s()
    second = koco.run("deploy", cwd=koco.project("superseded", PORTED, **app))
    _, err = first.communicate(timeout=20)
    assert first.returncode == 5, err
    assert "deployed release 2 before this one was ready" in err
    second.ok()
    assert calm_s() - began < 20, "the newer one waited for the older"
    eventually(lambda: "koco-superseded-1" not in serve_details(koco)["applications"])
    assert koco.execute("superseded/superseded").result == "hi"
    koco.run("undeploy", "superseded", "--yes").ok()


#: A replica that takes its time.
_SLOW = """class Front:
        def __init__(self):
            import time
            time.sleep(60)"""


#: Ways in which a module ends its process, at once or a moment later, and what is told of each.
CRASHES = {
    "print('last words', flush=True); os.kill(os.getpid(), 9)": ("SIGKILL", "last words"),
    "ctypes.string_at(0)": ("SIGSEGV", "crashing_app.py"),
    "threading.Thread(target=lambda: os.kill(os.getpid(), 11)).start()": ("SIGSEGV",),
    "threading.Timer(0.05, lambda: os._exit(3)).start()": ("exit code 3",),
}


def crashing(line: str) -> str:
    return f"import ctypes, os, threading\n{line}\ndef answer():\n    return 0\n"


def test_a_module_that_ends_its_process_does_not_go_live(koco: Koco) -> None:
    """Live means that a runner has outlived its imports; what served serves."""
    koco.deploy("crashing", "def answer():\n    return 1\n")
    for line, told in CRASHES.items():
        done = koco.run("deploy", cwd=koco.project("crashing", crashing(line)))
        assert done.code == 5, (line, done)
        assert "the runner died while it imported the entrypoints, or right after" in done.err
        print(done.err)
        assert all(each in done.err for each in told), (line, done.err)
        assert "release 1 still serves" in done.err
    assert koco.execute("crashing/answer").result == 1
    # Later than any deploy waits: koco goes back by itself, and says so.
    late = crashing("threading.Timer(2, lambda: os._exit(3)).start()")
    koco.run("deploy", cwd=koco.project("crashing", late)).ok()
    broken = 2 + len(CRASHES)
    url = f"/v1/services/crashing/releases/{broken + 1}"
    eventually(lambda: koco.get(url)["status"] == "live", within_s=30)
    assert koco.execute("crashing/answer").result == 1
    listed = koco.run("releases", "crashing").ok().out
    assert f"as release 1, as release {broken} is broken" in listed
    assert "koco rolls back to release 1" in listed
    assert "go_back" in koco.run("audit", "--target", "crashing").ok().out


def test_what_waits_for_a_broken_release_runs_after_a_rollback(koco: Koco, tmp_path: Path) -> None:
    """An execution that no runner of its release can begin moves to the one that is live."""
    koco.deploy("moving", "import os\ndef answer():\n    return 1\ndef pid():\n    return 0\n")
    marker = tmp_path / "broken"
    code = f"""
        import os
        if os.path.exists({str(marker)!r}):
            raise RuntimeError("broken since")
        def answer():
            return 2
        def pid():
            return os.getpid()
    """
    koco.deploy("moving", code)
    pid = koco.execute("moving/pid").result
    marker.touch()
    kill9(pid)
    fid = koco.launch("moving/answer")
    eventually(lambda: "broken since" in str(koco.get(f"/v1/executions/{fid}")))
    assert koco.get(f"/v1/executions/{fid}")["status"] == "queued"
    koco.run("rollback", "moving").ok()
    events = koco.events(fid)
    assert events[-2]["payload"] == 1
    assert {"status": "queued", "release": 3} in [event["payload"] for event in events]
    assert koco.get(f"/v1/executions/{fid}")["release"] == 3


def test_a_process_that_dies_before_ray_runs_in_it_fails_its_release(koco: Koco) -> None:
    """Ray says nothing for a minute, and then tries again; koco tells what the process wrote."""
    root = koco.project("stillborn", "def answer():\n    return 1\n")
    said = "import os, sys\nprint('no licence for this node', file=sys.stderr)\nos._exit(4)\n"
    # Named as a package that Ray imports, long before koco is there.
    (root / "requests.py").write_text(said)
    began = calm_s()
    done = koco.run("deploy", cwd=root)
    assert done.code == 5, done
    assert "ended before Ray's own code ran in it" in done.err
    assert "no licence for this node" in done.err
    assert calm_s() - began < 60


def test_who_holds_what_an_endpoint_waits_for_is_told(koco: Koco) -> None:
    """By name, with what is free; and it fails early, as nothing that runs makes room."""
    options = {"graceful_shutdown_timeout_s": 0.1, "ray_actor_options": {"num_cpus": 2}}
    app = {"app": "greedy_app:bound", "flows": [], "serve": options}
    koco.run("deploy", cwd=koco.project("greedy", PORTED, **app)).ok()
    try:
        options["ray_actor_options"] = {"num_cpus": 1}
        app = {"app": "late_app:bound", "flows": [], "serve": options}
        began = calm_s()
        done = koco.run("deploy", cwd=koco.project("late", PORTED, **app))
        assert done.code == 5, done
        assert "no node has room for its endpoint: 0 of 1 replicas of Front run" in done.err
        assert "no node has free 1 CPU (the most is 0 CPU)" in done.err
        assert "held by the replica Front of koco-greedy-1 (2 CPU)" in done.err
        assert "nothing that runs now will make room for it" in done.err
        assert calm_s() - began < 45
    finally:
        koco.run("undeploy", "greedy", "--yes").ok()
