"""Two real clusters from one terminal: `--contexts` with `deploy`, `plan`, `ps` and `status`."""

import json
from collections.abc import Iterator

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from tests.support.driver import Koco, koco_of_its_own

GOOD = "def greet(who: str = 'you'):\n    return f'Hello, {who}'\n"
BROKEN = "raise RuntimeError('not today')\n"


@pytest.fixture(scope="module")
def two(koco: Koco) -> Iterator[Koco]:
    """A koco whose contexts are `a` (its own cluster) and `b` (another one)."""
    with koco_of_its_own() as other:
        other.up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KOCO_HOME", str(koco.home))
            for name, each in (("a", koco), ("b", other)):
                facts = each.context
                context_file.save_context(Context(name, facts["url"], facts["key"]), False)
        yield koco


def test_deploy_lists_and_goes_back(two: Koco) -> None:
    """From a first deploy to a failure half way, and the commands that it prints work."""
    root = two.project("regions", GOOD)
    both = ("--contexts", "a,b")
    first = two.run("deploy", *both, cwd=root).ok()
    assert [line.split()[:4] for line in first.out.splitlines()] == [
        ["a", "regions", "release", "1"],
        ["b", "regions", "release", "1"],
    ]
    assert two.run("plan", *both, "--exit-code", cwd=root).code == 0

    for name in ("b", "a"):
        two.run("--context", name, "run", "regions/greet", "--wait").ok()
    page = json.loads(two.run("ps", *both, "-a", "--service", "regions", "--json").ok().out)
    assert [each["context"] for each in page["items"]] == ["a", "b"]
    statuses = json.loads(two.run("status", *both, "--json").ok().out)["items"]
    assert [each["context"] for each in statuses] == ["a", "b"]
    assert len({each["control_plane"]["pid"] for each in statuses}) == 2

    (root / "regions_app.py").write_text(BROKEN)
    failed = two.run("deploy", "--contexts", "b,a", cwd=root)
    assert failed.code == 5
    assert "  b  regions  release 2 failed; before: release 1\n" in failed.err
    assert "  a  regions  not changed\n" in failed.err
    assert "to go back" not in failed.err

    (root / "regions_app.py").write_text(GOOD.replace("Hello", "Bye"))
    done = two.run("deploy", *both, "--json", cwd=root).ok()
    [told] = [
        each["payload"]
        for each in map(json.loads, done.out.splitlines())
        if each["kind"] == "contexts"
    ]
    for site in told["items"]:
        [command] = site["go_back"]
        two.run(*command.split()[1:]).ok()
    fid = two.run("--context", "a", "run", "regions/greet", "--wait").ok().out.strip()
    assert "Hello" in two.run("--context", "a", "result", fid).ok().out


def test_one_cluster_that_is_gone(two: Koco) -> None:
    """The other one is listed, and nothing is deployed."""
    root = two.project("gone", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOCO_HOME", str(two.home))
        context_file.save_context(Context("c", "http://127.0.0.1:9", "koco_x"), False)
    listed = two.run("ps", "--contexts", "a,c", "-a")
    assert (listed.code, listed.out.splitlines()[0].split("\t")[0]) == (3, "context")
    assert "error: c: " in listed.err
    assert two.run("deploy", "--contexts", "a,c", cwd=root).code == 3
    services = json.loads(two.run("--context", "a", "status", "--json").ok().out)["services"]
    assert "gone" not in [each["name"] for each in services]
