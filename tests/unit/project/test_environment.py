"""Environments of koco.toml: merged into manifests, with their problems at their own places."""

from pathlib import Path

import pytest

from koco.errors import ManifestError, NotFoundError
from koco.project import env_file, project
from koco.project.project import Target

MANIFEST = """
service: hymn
runner: {min: 1, max: 3}
limits: {running: 9, queue: 4}
runtime:
  env: {LEVEL: info, REGION: "${REGION}"}
flows:
  - {name: sing, entrypoint: "app:sing"}
  - {name: hum, entrypoint: "app:sing", limits: {timeout: 5}}
"""
TOML = """
[project]
name = "hymns"

[env.staging]
context = "staging"
variables = { REGION = "eu" }

[env.staging.manifest]
runner.max = 2

[env.staging.services.hymn]
limits.running = 5
flows.hum.limits.timeout = 60
runtime.env.LEVEL = "debug"

[env.production]
timeout = 900
"""


def make(root: Path, toml: str = TOML) -> Path:
    (root / "koco.toml").write_text(toml)
    (root / "koco.yaml").write_text(MANIFEST)
    (root / "app.py").write_text("def sing(): ...\n")
    return root


def target(root: Path, env: str | None, **more: list[Path]) -> Target:
    found = project.in_environment(
        project.targets(start=root), env, env_files=more.get("env_files", ())
    )
    valid, problems = project.check(found, environ={"HOME": "/"} | ({} if env else {"REGION": ""}))
    if problems:
        raise ManifestError(problems)
    return valid[0]


def test_mappings_are_merged_and_the_rest_is_replaced(tmp_path: Path) -> None:
    """Flows by their names. Without an environment, the manifest is as it is."""
    make(tmp_path)
    manifest = target(tmp_path, "staging").manifest
    assert (manifest.runner.min, manifest.runner.max) == (1, 2)
    assert (manifest.limits.running, manifest.limits.queue) == (5, 4)
    assert [flow.name for flow in manifest.flows] == ["sing", "hum"]
    assert [flow.limits.timeout for flow in manifest.flows] == [None, 60]
    assert manifest.runtime.env == {"LEVEL": "debug", "REGION": "eu"}
    usual = target(tmp_path, None).manifest
    assert (usual.runner.max, usual.limits.running, usual.flows[1].limits.timeout) == (3, 9, 5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("runner.maxx = 2", "env.staging.manifest.runner.maxx: unknown key (hint: did you mean"),
        ("runner.max = 'two'", "env.staging.manifest.runner.max: expected a whole number"),
        ("flows.hymm.limits.timeout = 1", "env.staging.manifest.flows.hymm: unknown key"),
        ("flows.hum.limit.timeout = 1", "env.staging.manifest.flows.hum.limit: unknown key"),
        ("runner.max = 0", "env.staging.manifest.runner.max"),
    ],
)
def test_a_mistake_is_reported_at_its_place(tmp_path: Path, line: str, said: str) -> None:
    """In koco.toml, with the same words as in a manifest."""
    toml = TOML.replace("runner.max = 2", line)
    make(tmp_path, toml)
    with pytest.raises(ManifestError) as caught:
        target(tmp_path, "staging")
    number = toml.splitlines().index(line) + 1
    [problem] = caught.value.problems
    assert problem.startswith(f"{tmp_path}/koco.toml:{number}:1: {said}"), problem


def test_a_mistake_in_the_manifest_stays_there(tmp_path: Path) -> None:
    """Although an environment is merged into it."""
    make(tmp_path)
    (tmp_path / "koco.yaml").write_text(MANIFEST.replace("queue: 4", "queue: -4"))
    with pytest.raises(ManifestError) as caught:
        target(tmp_path, "staging")
    [problem] = caught.value.problems
    assert "koco.yaml:4:" in problem
    assert "limits.queue" in problem


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (TOML.replace("context =", "contex ="), "env.staging.contex: unknown key"),
        (TOML.replace('"eu"', "1"), "REGION: expected text"),
        (
            TOML.replace("[env.staging.services.hymn]", "[env.staging.services.x]"),
            "known keys: hymn",
        ),
        (TOML.replace("timeout = 900", "timeout = -1"), "env.production.timeout: must be above 0"),
        ("env = 3\n" + TOML.partition("[env")[0], "expected a table"),
    ],
)
def test_the_file_itself_is_checked(tmp_path: Path, toml: str, said: str) -> None:
    """Also of environments that are not chosen."""
    make(tmp_path, toml)
    with pytest.raises(ManifestError) as caught:
        target(tmp_path, "staging")
    assert said in caught.value.problems[0]


def test_an_unknown_environment_lists_the_others(tmp_path: Path) -> None:
    """With the nearest one."""
    make(tmp_path)
    with pytest.raises(NotFoundError) as caught:
        target(tmp_path, "stagin")
    assert "did you mean 'staging'?" in (caught.value.hint or "")
    assert "staging, production" in (caught.value.hint or "")


def test_files_fill_in_variables_and_are_never_shipped(tmp_path: Path) -> None:
    """Later files win over earlier ones and over `variables`; the process wins over all."""
    toml = TOML.replace("[env.staging.manifest]", "env_file = 'a.vars'\n[env.staging.manifest]")
    make(tmp_path, toml.replace("runner.max = 2", "runtime.include = ['*.vars']"))
    (tmp_path / "a.vars").write_text("REGION=a\nHOME=nowhere\n")
    (tmp_path / "b.vars").write_text("REGION=b\n")
    found = target(tmp_path, "staging")
    assert found.manifest.runtime.env["REGION"] == "a"
    assert found.hidden_env == {"REGION"}
    assert [file.name for file in found.tree.files] == ["app.py", "b.vars"]
    found = target(tmp_path, "staging", env_files=[tmp_path / "b.vars"])
    assert found.manifest.runtime.env["REGION"] == "b"
    assert [file.name for file in found.tree.files] == ["app.py"]


def test_reads_what_common_tools_write(tmp_path: Path) -> None:
    """Comments, quotes, export; nothing is executed or expanded."""
    path = tmp_path / ".env"
    path.write_text(
        "\ufeff# comment\n\nA=1\nexport B = two words # c\nC='$A # no'\n"
        'D="line\\nnext \\"q\\"" # c\nE=\nF=a#b\nA=$(rm -rf /)\n'
    )
    assert env_file.read(path) == {
        **{"A": "$(rm -rf /)", "B": "two words", "C": "$A # no", "D": 'line\nnext "q"'},
        **{"E": "", "F": "a#b"},
    }


def test_no_message_has_a_value(tmp_path: Path) -> None:
    """All wrong lines at once."""
    path = tmp_path / ".env"
    path.write_text("sesame-open\nA='sesame-open\nB=1\n")
    with pytest.raises(ManifestError) as caught:
        env_file.read(path)
    assert len(caught.value.problems) == 2
    assert "sesame" not in str(caught.value.problems)
