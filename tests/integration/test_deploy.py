"""Releases on a real cluster: ready before live, failures told, the former one serving."""

from pathlib import Path

import httpx
import pytest

from tests.support.driver import Done, Koco, calm_s, eventually, zipped

GOOD = "def answer():\n    return {value}\n"


def deploy(koco: Koco, root: Path, *args: str) -> Done:
    return koco.run("deploy", *args, cwd=root)


def test_a_second_release_takes_over_and_the_first_runs_out(koco: Koco) -> None:
    """New launches run the new code; what runs keeps the code that it was started with."""
    slow = "import time\ndef answer():\n    time.sleep(2)\n    return {}\n"
    koco.deploy("takeover", slow.format(1))
    old = koco.launch("takeover/answer")
    koco.deploy("takeover", slow.format(2))
    new = koco.launch("takeover/answer")
    assert koco.events(old)[-2]["payload"] == 1
    assert koco.events(new)[-2]["payload"] == 2
    # The first release's runner leaves when it has nothing to do any more.
    services = {s["name"]: s for s in koco.get("/v1/status")["services"]}
    assert services["takeover"]["release"] == 2


def test_a_flow_finds_what_was_shipped_and_starts_away_from_the_store(koco: Koco) -> None:
    """A relative path that it writes to must not be a file of koco's."""
    code = """
        import os
        from pathlib import Path
        def answer():
            return [Path(__file__).with_name("note.txt").read_text(), os.listdir()]
    """
    root = koco.project("places", code)
    (root / "note.txt").write_text("shipped")
    deploy(koco, root).ok()
    note, beside = koco.events(koco.launch("places/answer"))[-2]["payload"]
    assert note == "shipped"
    assert "store.db" not in beside


def test_an_unchanged_deploy_does_nothing(koco: Koco) -> None:
    """The same manifest and files: it says so, and no release is made."""
    root = koco.project("same", GOOD.format(value=1))
    deploy(koco, root).ok()
    again = deploy(koco, root, "--json").ok().lines()
    [unchanged] = [line["payload"] for line in again if line["kind"] == "unchanged"]
    assert unchanged["release"] == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def answer(:\n    return 1\n", ["SyntaxError", "def answer(:"]),
        ("import no_such_module_here\ndef answer():\n    pass\n", ["no_such_module_here", "hint:"]),
        ("raise RuntimeError('at import')\ndef answer():\n    pass\n", ["at import", "line 1"]),
        ("def other():\n    return 1\n", ["answer"]),
    ],
    ids=["syntax", "missing-import", "raises", "no-such-object"],
)
def test_broken_code_fails_with_its_own_traceback(koco: Koco, code: str, said: list[str]) -> None:
    """Exit 5, the user's own lines, a hint; the former release still serves."""
    flows = [{"name": "answer", "entrypoint": "broken_app:answer"}]
    koco.run("deploy", cwd=koco.project("broken", GOOD.format(value=7), flows=flows)).ok()
    done = deploy(koco, koco.project("broken", code, flows=flows))
    assert done.code == 5, done
    for text in said:
        assert text in done.err
    assert "koco/runner" not in done.err
    assert koco.execute("broken/answer").result == 7


def test_an_uninstallable_dependency_fails_with_pips_own_line(koco: Koco) -> None:
    """Exit 5 and pip's word; the corrected deploy works, and finds the package."""
    code = "def answer():\n    import iniconfig\n    return iniconfig.__file__\n"
    bad = {"dependencies": ["koco-no-such-package==1.0"]}
    done = deploy(koco, koco.project("needs", code, runtime=bad))
    assert done.code == 5
    assert "No matching distribution found for koco-no-such-package==1.0" in done.err
    good = {"dependencies": ["iniconfig==2.0.0"]}
    deploy(koco, koco.project("needs", code, runtime=good)).ok()
    assert "/pip/" in koco.execute("needs/answer").result, "not from the runner's environment"


def test_a_deploy_that_takes_too_long_exits_124(koco: Koco) -> None:
    """`--timeout` bounds the wait, and says what becomes of the release."""
    code = "import time\ntime.sleep(8)\ndef answer():\n    pass\n"
    began = calm_s()
    done = deploy(koco, koco.project("slow", code), "--timeout", "2")
    assert done.code == 124, done
    assert calm_s() - began < 20


def test_a_release_under_way_survives_the_control_plane(koco: Koco) -> None:
    """Killed in the middle of a deploy, the control plane takes it up again; the CLI waits on."""
    from tests.support.driver import kill9

    code = "import time\ntime.sleep(3)\ndef answer():\n    return 5\n"
    process = koco.popen("deploy", cwd=koco.project("midway", code))
    with koco.http() as client:
        url = "/v1/services/midway/releases/1"
        eventually(lambda: client.get(url).status_code == 200)
    kill9(koco.control_pid())
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert koco.execute("midway/answer").result == 5


def put(client: httpx.Client, sha256: str, data: bytes) -> httpx.Response:
    """Upload a bundle in one piece."""
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
    return client.patch(f"/v1/bundles/{sha256}", content=data, headers=headers)


def test_a_bundle_must_be_what_its_name_says(koco: Koco) -> None:
    """Another hash is refused and leaves nothing; a release needs its bundle to be there."""
    data, sha = zipped({"a.py": "x = 1\n"})
    with koco.http() as client:
        wrong = put(client, "0" * 64, data)
        assert wrong.status_code == 400
        assert sha in wrong.json()["detail"]
        held = client.head(f"/v1/bundles/{'0' * 64}").headers
        assert (held["Upload-Offset"], held["Upload-Complete"]) == ("0", "?0")
        for name in ("x" * 64, "..%2f..%2fetc", "A" * 64):
            assert put(client, name, data).status_code in (400, 404)
        manifest = {"service": "s", "flows": [{"name": "f", "entrypoint": "a:f"}]}
        body = {"manifest": manifest, "bundle": "1" * 64}
        assert client.post("/v1/services/s/releases", json=body).status_code == 404
        manifest["bogus"] = 1  # type: ignore[assignment]
        answer = client.post("/v1/services/s/releases", json=body)
        assert answer.status_code == 422
        assert "bogus" in answer.json()["detail"]


def test_bundles_are_given_to_those_who_know_the_signed_url(koco: Koco) -> None:
    """Without a key the signature is needed; a wrong one finds nothing."""
    data, sha = zipped({"a.py": "x = 2\n"})
    with koco.http() as client:
        assert put(client, sha, data).status_code == 204
        assert client.head(f"/v1/bundles/{sha}").headers["Upload-Complete"] == "?1"
    with koco.http(headers={}) as nobody:
        assert nobody.get(f"/bundles/{'0' * 32}/{sha}.zip").status_code == 404
        assert nobody.get(f"/v1/bundles/{sha}").status_code in (401, 404, 405)
