"""What an operator does: settings, limits, environments, exports, with a real control plane."""

import json
from pathlib import Path

from tests.support.driver import Koco

CODE = """
    import os, time

    def level():
        return os.environ.get("LEVEL", "none")

    def hold():
        time.sleep(0.5)
"""


def test_settings_are_changed_while_it_runs(koco: Koco) -> None:
    """And listed, as they were and are."""
    try:
        ran = koco.run("config", "set", "max_body_mb=4", "park_after=30").ok()
        assert ran.out == "name\tbefore\tvalue\nmax_body_mb\t16\t4\npark_after\t60\t30\n"
        assert koco.run("config", "get", "park_after").ok().out == "30\n"
        assert "max_body_mb\t4\t16\n" in koco.run("config", "list", "--changed").ok().out
        wrong = koco.run("config", "set", "max_body_mb=2", "park_aftr=1")
        assert (wrong.code, "did you mean park_after?" in wrong.err) == (2, True)
    finally:
        koco.run("config", "unset", "max_body_mb", "park_after").ok()
    assert koco.run("config", "list", "--changed", "--json").ok().json()["items"] == []


def test_a_limit_counts_at_once_and_goes_with_a_deploy(koco: Koco) -> None:
    """A flow that is held back begins when the limit is lifted."""
    mine = koco.deploy("limited", CODE)
    koco.run("limits", "limited/level", "--running", "0", "--until-deploy").ok()
    fid = mine.launch("level")
    why = koco.run("show", fid, "--json").ok().json()
    assert why["status"] == "queued"
    koco.run("limits", "limited/level", "--running", "2", "--until-deploy").ok()
    assert mine.events(fid)[-1]["payload"]["status"] == "finished"
    koco.deploy("limited", CODE + "\n    # changed\n")
    [_, line] = koco.run("limits", "limited/level").ok().out.splitlines()
    assert line.startswith("limited/level\tnone\tnone\tnone\tnone")


def test_an_environment_changes_what_is_deployed(koco: Koco, tmp_path: Path) -> None:
    """Its own service, its variables; its file is not shipped, and its values are not shown."""
    root = koco.project("envd", CODE, runtime={"env": {"LEVEL": "${LEVEL:-usual}"}})
    with (root / "koco.toml").open("a") as toml:
        toml.write('\n[env.staging]\ncontext = "local"\nenv_file = "staging.env"\n')
        toml.write('manifest.service = "envd-staging"\n')
    (root / "staging.env").write_text("LEVEL=sesame-open\n")
    plan = koco.run("plan", "--env", "staging", cwd=root).ok()
    assert plan.out.startswith("environment staging, at http")
    assert "sesame" not in plan.out + plan.err
    koco.run("deploy", "--env", "staging", cwd=root).ok()
    koco.run("deploy", cwd=root).ok()
    assert koco.execute("envd-staging/level").result == "sesame-open"
    assert koco.execute("envd/level").result == "usual"
    wrong = koco.run("deploy", "--env", "stagin", cwd=root)
    assert (wrong.code, "staging" in wrong.err) == (4, True)


def test_an_export_has_all_of_an_execution(koco: Koco) -> None:
    """In a folder of its fid."""
    ended = koco.deploy("exported", CODE).execute("level")
    koco.run("export", ended.fid, "--to", "exports").ok()
    folder = koco.root / "exports" / ended.fid
    lines = (folder / "events.ndjson").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ended.events
    assert json.loads((folder / "result.json").read_text())["result"] == "none"
