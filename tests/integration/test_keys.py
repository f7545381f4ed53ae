"""Keys on a real cluster: what is revoked ends, others find nothing, lost ones come back."""

from typing import Any

import pytest

from tests.support.driver import Koco, calm_s

APP = """
    import time

    def wait(seconds: float = 60.0):
        print("waits", flush=True)
        time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy("keys", APP)


def made(app: Koco, name: str, *args: str) -> dict[str, Any]:
    """Make a key; return the environment of who has it."""
    secret = app.run("key", "create", name, *args).ok().out.strip()
    return {"KOCO_URL": app.context["url"], "KOCO_KEY": secret}


def test_what_a_revoked_key_follows_ends_at_once(app: Koco) -> None:
    """`koco logs -f` exits with 6 within a second; what was launched by it goes on."""
    eve = made(app, "eve", "--flow", "keys/*")
    fid = app.run("run", "keys/wait", env=eve).ok().out.strip()
    following = app.popen("logs", "-f", fid, env=eve)
    assert following.stdout is not None
    assert "waits" in "".join(following.stdout.readline() for _ in range(1))
    app.run("key", "revoke", "eve").ok()
    began = calm_s()
    assert following.wait(10) == 6
    assert calm_s() - began < 3  # a second; the machine may be busy
    assert app.run("ps", env=eve).code == 6
    assert app.get(f"/v1/executions/{fid}")["status"] == "running"
    app.run("cancel", fid, "--grace", "0").ok()


def test_others_are_not_found(app: Koco) -> None:
    """Neither by fid nor in a list, nor as `latest`; by who sees all they are, with their user."""
    ada, bob = made(app, "ada"), made(app, "bob")
    fid = app.run("run", "keys/wait", "-i", "seconds=0", env=ada).ok().out.strip()
    for args in (("show", fid), ("logs", fid), ("result", fid), ("cancel", fid), ("show", "-")):
        assert app.run(*args, env=bob).code == 4, args
    assert app.run("ps", "-a", "--json", env=bob).ok().json()["items"] == []
    assert app.run("show", "-", "--json", env=ada).ok().json()["fid"] == fid
    seer = made(app, "seer", "--scope", "read", "--all-executions")
    assert app.run("show", fid, "--json", env=seer).ok().json()["user"] == "ada"
    refused = app.run("run", "keys/wait", env=seer)
    assert refused.code == 6
    assert "no scope 'launch'" in refused.err


def test_a_key_that_deploys_is_enough_for_a_deploy(app: Koco) -> None:
    """And releases tell whose they are; it launches nothing."""
    ci = made(app, "ci", "--scope", "deploy", "--flow", "keyed/*", "--expires", "1h")
    project = app.project("keyed", "def hello():\n    return 1\n")
    app.run("deploy", cwd=project, env=ci).ok()
    [release] = app.run("releases", "keyed", "--json", env=ci).ok().json()["items"]
    assert release["by"] == "ci"
    assert app.run("run", "keyed/hello", env=ci).code == 6
    assert app.run("undeploy", "keys", "--yes", env=ci).code == 6
    [key] = [each for each in app.get("/v1/keys")["items"] if each["name"] == "ci"]
    assert (key["by"], key["last_from"]) == ("admin", "127.0.0.1")


def test_the_admin_key_is_rotated_and_made_anew_when_it_is_lost(app: Koco) -> None:
    """The context takes the new one; `--recover-admin` replaces that key, and no other."""
    pid = app.control_pid()
    other = made(app, "root", "--scope", "admin")
    old = app.context["key"]
    new = app.run("key", "rotate", "admin").ok().out.strip()
    assert (app.context["key"], new != old) == (new, True)
    app.run("key", "revoke", "root").ok()
    assert app.run("key", "revoke", "admin").code == 2
    other = made(app, "root", "--scope", "admin")
    before = {each["name"] for each in app.get("/v1/keys")["items"]}
    app.run("up", "--recover-admin").ok()
    assert app.context["key"] not in (old, new)
    for gone in (old, new):
        assert app.run("ps", env={**other, "KOCO_KEY": gone}).code == 6
    assert {each["name"] for each in app.get("/v1/keys")["items"]} == before
    assert app.run("ps", env=other).code == 0
    assert app.control_pid() == pid
