"""Releases that go live must work: superseded ones, ones that crash, and what waits for room."""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.driver import APP, Koco, eventually
from tests.integration.test_endpoints import serve_details

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


def test_services_with_an_app_come_up_together(koco: Koco) -> None:
    """None removes another's application, and all fit on two cores, as none names a CPU."""
    names = [f"together{number}" for number in range(5)]
    roots = [koco.project(name, PORTED, app=f"{name}_app:bound", flows=[]) for name in names]
    try:
        with ThreadPoolExecutor(len(roots)) as pool:
            done = list(pool.map(lambda root: koco.run("deploy", cwd=root), roots))
        assert [each.code for each in done] == [0] * len(names), [each.err for each in done]
        applications = serve_details(koco)["applications"]
        assert {f"koco-{name}-1" for name in names} <= {*applications}
    finally:
        for name in names:
            koco.run("undeploy", name, "--yes")


def test_a_newer_deploy_supersedes_one_that_is_starting(koco: Koco) -> None:
    """Its Serve application is withdrawn, whoever waits exits with 5, and the newer goes live."""
    slow = PORTED.replace("class Front:\n        pass", _SLOW)
    app = {"app": "superseded_app:bound", "flows": []}
    first = koco.popen("deploy", cwd=koco.project("superseded", slow, **app))
    eventually(lambda: "koco-superseded-1" in serve_details(koco)["applications"])
    began = time.monotonic()
    second = koco.run("deploy", cwd=koco.project("superseded", PORTED, **app))
    _, err = first.communicate(timeout=20)
    assert first.returncode == 5, err
    assert "deployed release 2 before this one was ready" in err
    second.ok()
    assert time.monotonic() - began < 20, "the newer one waited for the older"
    eventually(lambda: "koco-superseded-1" not in serve_details(koco)["applications"])
    assert koco.execute("superseded/superseded").result == "hi"
    koco.run("undeploy", "superseded", "--yes").ok()


#: A replica that takes its time.
_SLOW = """class Front:
        def __init__(self):
            import time
            time.sleep(60)"""
