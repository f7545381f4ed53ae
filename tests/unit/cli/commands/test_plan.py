"""`koco plan`, and plans within `koco deploy`."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from koco.cli.deploy import plan
from koco.errors import ConflictError, NotAllowedError, UsageError
from koco.sizes import MB
from tests.support.memory_plane import Plane
from tests.support.typist import Typist
from tests.unit.conftest import Cli

CREATED = "hello  create  1 file, 17 B\n    + app.py  17 B\n1 to create\n"
MANIFEST = "service: {0}\nflows: [{{name: greet, entrypoint: app:greet}}]\n"
UPDATE: dict[str, Any] = {
    "action": "update",
    "release": 3,
    "expect": 3,
    "parts": ["code", "replicas"],
    "files": [
        {"path": "app.py", "change": "changed", "old_bytes": 1200, "new_bytes": 1300},
        {"path": "new.txt", "change": "added", "old_bytes": None, "new_bytes": 5},
        {"path": "run.sh", "change": "mode", "old_bytes": 9, "new_bytes": 9},
    ],
    "changes": [
        {"path": "runner.max", "part": "replicas", "old": 10, "new": 20},
        {"path": "runtime.env.A", "part": "environment", "new": "x"},
        {"path": "tags", "part": "settings", "old": ["a", "b"], "new": ["b", "c"]},
    ],
}
REMOVE: dict[str, Any] = {"action": "remove", "release": 2, "expect": 2}


@pytest.fixture
def project(plane: Plane, tmp_path: Path) -> Path:
    """A project with one service, in the current directory."""
    (tmp_path / "koco.toml").write_text('[project]\nname = "demo"\nmanifests = ["*.yaml"]\n')
    (tmp_path / "koco.yaml").write_text(MANIFEST.format("hello"))
    (tmp_path / "app.py").write_text("def greet(): ...\n")
    plane.releases = [{"status": "live"}]
    return tmp_path


def made(plane: Plane) -> list[tuple[str, str]]:
    return [(method, path.partition("?")[0]) for method, path, _ in plane.requests]


def test_it_asks_for_a_plan_and_nothing_else(plane: Plane, project: Path, cli: Cli) -> None:
    """With the manifest and its files by their hashes; no byte of them is sent."""
    ran = cli("plan")
    assert (ran.code, ran.out) == (0, CREATED)
    [(method, path, body)] = plane.requests
    assert (method, path, body["project"], body["prune"]) == ("POST", "/v1/plan", "demo", False)
    [service] = body["services"]
    assert service["manifest"]["service"] == "hello"
    assert [(file["path"], file["size_bytes"]) for file in service["files"]] == [("app.py", 17)]


def test_sends_only_the_manifests_own_values(plane: Plane, project: Path, cli: Cli) -> None:
    """A control plane that is older refuses keys that it does not know, such as runtime.include."""
    said: dict[str, Any] = {
        "service": "hello",
        "flows": [{"name": "greet", "entrypoint": "app:greet", "limits": {"queue": None}}],
        "runtime": {"env": {"A": "x"}},
        "limits": {"queue": 5},
    }
    (project / "koco.yaml").write_text(json.dumps(said))
    assert cli("deploy").code == 0
    sent = [data for _, path, data in plane.requests if path.endswith(("/plan", "/releases"))]
    assert [sent[0]["services"][0]["manifest"], sent[-1]["manifest"]] == [said, said]


def test_shows_an_update_line_by_line(plane: Plane, project: Path, cli: Cli) -> None:
    """Files with their sizes, settings with their old and new values."""
    plane.steps["hello"] = UPDATE
    assert cli("plan").out == (
        "hello  update  release 3  code, replicas\n"
        "    ~ app.py         1.2 kB → 1.3 kB\n"
        "    + new.txt        5 B\n"
        "    ~ run.sh         whether it is executable\n"
        "    ~ runner.max     10 → 20\n"
        '    + runtime.env.A  "x"\n'
        '    - tags           "a"\n'
        '    + tags           "c"\n'
        "1 to update\n"
    )


def test_shows_an_added_value_once(plane: Plane, project: Path, cli: Cli) -> None:
    """Without its defaults, and not as a change of the order, too; a mere change of order is."""
    new = {"name": "new", "entrypoint": "a:b", "summary": "", "inputs": None}
    changes = [
        {"path": "flows.new", "part": "settings", "new": new},
        {"path": "flows", "part": "settings", "old": ["greet"], "new": ["new", "greet"]},
        {"path": "tags", "part": "settings", "old": ["a", "b"], "new": ["b", "a"]},
    ]
    plane.steps["hello"] = {**UPDATE, "parts": ["settings"], "files": [], "changes": changes}
    assert cli("plan").out == (
        "hello  update  release 3  settings\n"
        '    + flows.new  {"name": "new", "entrypoint": "a:b"}\n'
        '    ~ tags       ["a", "b"] → ["b", "a"]\n'
        "1 to update\n"
    )


def test_names_public_paths(plane: Plane, project: Path, cli: Cli) -> None:
    """The paths that a deploy opens, closes and keeps open, also before confirmation."""
    public = {"public": ["/a", "/b/*"]}
    plane.steps["hello"] = public
    assert cli("plan").out == (
        "hello  create  1 file, 17 B\n"
        "    opens /a to the public\n"
        "    opens /b/* to the public\n"
        "    + app.py  17 B\n"
        "1 to create\n"
    )
    change = {"path": "endpoint.public", "part": "settings", "old": ["/a", "/c"], "new": ["/a"]}
    change["new"] = public["public"]
    update = {**UPDATE, **public, "files": [], "parts": ["settings"], "changes": [change]}
    plane.steps["hello"] = update
    told = (
        "    keeps /a open to the public\n"
        "    opens /b/* to the public\n"
        "    closes /c to the public\n"
    )
    assert told in cli("plan").out
    assert '    - endpoint.public  "/c"\n' in cli("plan").out
    assert told in cli("deploy", "--no-input").err + cli("deploy", "--yes").err
    plane.steps["hello"] = {**update, "changes": []}
    assert cli("plan").out.count("open to the public") == 2
    assert json.loads(cli("plan", "--json").out)["items"][0]["public"] == ["/a", "/b/*"]


def test_does_not_list_all_of_many_files(plane: Plane, project: Path, cli: Cli) -> None:
    """Twenty, and the number of the others; `--verbose` and `--json` have all."""
    file = {"path": "f", "change": "added", "old_bytes": None, "new_bytes": 5}
    plane.steps["hello"] = {**UPDATE, "files": [file] * 33}
    ran = cli("plan")
    assert ran.out.count("+ f ") == 20
    assert "    … and 13 more files; --verbose lists all\n    ~ runner.max" in ran.out
    assert cli("plan", "--verbose").out.count("+ f ") == 33
    assert len(json.loads(cli("plan", "--json").out)["items"][0]["files"]) == 33
    plane.steps["hello"] = {**UPDATE, "files": [file] * 33, "changes": []}
    assert "    … and 13 more files; --verbose lists all\n1 to update" in cli("plan").out


def test_lists_the_files_of_a_new_service(plane: Plane, project: Path, cli: Cli) -> None:
    """The largest first, with their number and size; in a deploy, too; all with --verbose."""
    for number in range(12):
        (project / f"f{number:02}").write_text("x" * (number + 1) * 100)
    ran = cli("plan")
    assert ran.out.startswith(
        "hello  create  13 files, 7.6 kB\n    + f11  1.2 kB\n    + f10  1.1 kB\n"
    )
    assert ran.out.endswith(
        "    + f02  300 B\n    … and 3 more files; --verbose lists all\n1 to create\n"
    )
    assert ran.out.splitlines()[:-1] == cli("deploy").err.splitlines()[:12]
    for args in (["plan", "-v"], ["deploy", "--verbose"]):
        ran = cli(*args)
        assert "    + app.py  17 B\n1 to create\n" in ran.out + ran.err
    [item] = json.loads(cli("plan", "--json").out)["items"]
    assert item["ships"] == {"files": 13, "size_bytes": 7817}
    app = {"path": "app.py", "change": "added", "old_bytes": None, "new_bytes": 17}
    assert (len(item["files"]), item["files"][0]) == (13, app)


def test_leaves_out_and_lists_files_that_look_like_secrets(
    plane: Plane, project: Path, cli: Cli
) -> None:
    """By name or content, with a hint; in plans and deploys, for people and scripts."""
    (project / ".env").write_text("TOKEN=1\n")
    (project / ".env.example").write_text("TOKEN=\n")
    (project / "deploy").write_text("-----BEGIN PRIVATE KEY-----\n")
    (project / ".aws").mkdir()
    told = (
        "    ! .aws/         left out: looks like credentials\n"
        "    ! .env          left out: looks like environment variables\n"
        "    ! deploy        left out: looks like a private key\n"
        "      runtime.include in the manifest ships files that are left out\n"
    )
    assert "create  2 files, 24 B\n    + app.py" in cli("plan").out
    for update in ({}, UPDATE):
        plane.steps["hello"] = update
        assert told in cli("plan").out.replace("! .env            l", "! .env          l") or update
        for ran in (cli("plan"), cli("deploy")):
            said = [line.split() for line in (ran.out + ran.err).splitlines() if "left out" in line]
            assert said == [line.split() for line in told.splitlines()]
    [item] = json.loads(cli("plan", "--json").out)["items"]
    assert item["left_out"][0] == {"path": ".aws/", "looks_like": "credentials"}
    first = json.loads(cli("deploy", "--json").out.splitlines()[0])
    assert first["payload"]["items"][0]["left_out"] == item["left_out"]
    assert [sorted(each) for each in plane.bundled()] == [[".env.example", "app.py"]]


def test_a_manifest_can_include_files_that_look_like_secrets(
    plane: Plane, project: Path, cli: Cli
) -> None:
    """Then it is shipped although git ignores it, without a note."""
    (project / ".env").write_text("A=1\n")
    (project / ".gitignore").write_text(".env\n")
    with (project / "koco.yaml").open("a") as manifest:
        manifest.write("runtime: {include: [.env]}\n")
    ran = cli("deploy")
    assert (ran.code, "left out" in ran.err) == (0, False)
    assert [sorted(each) for each in plane.bundled()] == [[".env", ".gitignore", "app.py"]]


@pytest.mark.parametrize("pattern", ["**", "*", "!*"])
def test_includes_only_named_files(plane: Plane, project: Path, cli: Cli, pattern: str) -> None:
    """A pattern that matches everything would bring back the fault that there was."""
    with (project / "koco.yaml").open("a") as manifest:
        manifest.write(f"runtime: {{include: ['{pattern}']}}\n")
    ran = cli("plan")
    assert (ran.code, plane.requests) == (2, [])
    assert f"koco.yaml:3:21: runtime.include[0]: '{pattern}' names no file (hint: " in ran.err


def test_warns_of_large_files(
    plane: Plane, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each above the limit, or the largest of many that are above it together."""
    monkeypatch.setattr(plan, "_LARGE_BYTES", 2 * MB)
    for name, size in (("a.bin", 1.5 * MB), ("b.bin", 2.1 * MB)):
        with (project / name).open("wb") as file:
            file.truncate(int(size))
    ran = cli("plan")
    assert (ran.code, ran.err.count("warning")) == (0, 1)
    assert (
        "koco.yaml:1:1: this ships files above 2 MB: b.bin (2.1 MB) (hint: each change" in ran.err
    )
    [item] = json.loads(cli("plan", "--json").out)["items"]
    assert "b.bin" in item["warnings"][0]["message"]
    with (project / "b.bin").open("wb") as file:
        file.truncate(MB)
    told = "this ships 2.5 MB of files: a.bin (1.5 MB), b.bin (1 MB), app.py (17 B) (hint"
    assert told in cli("plan").err
    plane.steps["hello"] = {"action": "unchanged", "release": 3}
    assert cli("plan").err == ""


def test_a_name_of_two_lines_is_shown_on_one(
    plane: Plane, project: Path, cli: Cli, terminal: Cli
) -> None:
    """Otherwise a file name could fake output, also in a log."""
    evil = "a\x1b[2K\nother  create  1 file, 17 B\n1 to create"
    files = [{"path": evil, "change": "added", "old_bytes": None, "new_bytes": 5}]
    change = {"path": evil, "part": "settings", "old": evil, "new": "x"}
    plane.steps["hello"] = {**UPDATE, "files": files, "changes": [change], "public": [evil]}
    for ran in (cli("plan"), terminal("plan", env={"NO_COLOR": "1"})):
        assert not [line for line in ran.out.splitlines() if line.startswith("other")]
        assert "\x1b" not in ran.out
        assert "+ a\\x1b[2K\\nother  create" in ran.out


def test_json_is_one_document(plane: Plane, project: Path, cli: Cli) -> None:
    """As the control plane answers; stderr is silent."""
    ran = cli("plan", "--json")
    document = json.loads(ran.out)
    assert set(document) == {"items", "next", "counts"}
    assert (ran.code, ran.err, document["counts"]["create"]) == (0, "", 1)


def test_the_exit_code_tells_whether_there_is_something_to_do(
    plane: Plane, project: Path, cli: Cli
) -> None:
    """Exit code 10 if there is something to do, and only with the option."""
    assert cli("plan", "--exit-code").code == 10
    assert cli("plan", "--exit-code", "--json").code == 10
    plane.unchanged = True
    ran = cli("plan", "--exit-code")
    assert (ran.code, ran.out) == (0, "1 unchanged\n")


def test_errors_keep_their_codes(
    plane: Plane, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not allowed is 6, unreachable 3, not found 4: none of them is "something to do"."""
    plane.refuses = NotAllowedError("the key has no scope 'deploy'")
    assert cli("plan", "--exit-code").code == 6
    plane.refuses = None
    monkeypatch.setenv("KOCO_URL", "http://127.0.0.1:9")
    assert cli("plan", "--exit-code").code == 3
    assert cli("plan", "--exit-code", "nope.yaml").code == 4


def test_reports_problems_with_their_place(plane: Plane, project: Path, cli: Cli) -> None:
    """The plan is still shown; exit code 2, and a deploy sends nothing."""
    found = {"message": "secret TOKEN is not set", "hint": "koco secret set", "path": ["flows", 0]}
    plane.steps["hello"] = {"problems": [found]}
    ran = cli("plan", "--exit-code")
    assert (ran.code, ran.out) == (2, CREATED)
    expected = "error: koco.yaml:2:9: flows[0]: secret TOKEN is not set (hint: koco secret set)\n"
    assert ran.err == expected
    plane.requests.clear()
    ran = cli("deploy")
    assert (ran.code, made(plane)) == (2, [("POST", "/v1/plan")])
    assert ran.err.endswith(expected)


def test_warnings_stop_nothing(plane: Plane, project: Path, cli: Cli) -> None:
    """They are reported on stderr, with their place."""
    found = {"message": "looks like a key", "hint": None, "path": ["service"]}
    plane.steps["hello"] = {"warnings": [found]}
    ran = cli("plan")
    assert (ran.code, ran.err) == (0, "warning: koco.yaml:1:10: service: looks like a key\n")


def test_a_deploy_carries_out_the_plan(plane: Plane, project: Path, cli: Cli) -> None:
    """It names the release that it replaces, and leaves unchanged services alone."""
    (project / "other.yaml").write_text(MANIFEST.format("other"))
    plane.steps["hello"] = UPDATE
    plane.steps["other"] = {"action": "unchanged", "release": 7}
    ran = cli("deploy")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "other  unchanged (release 7)")
    assert ran.err.startswith(
        "hello  update  release 3  code (3 files), replicas\n1 to update, 1 unchanged\n"
    )
    [body] = [data for _, path, data in plane.requests if path.endswith("/releases")]
    assert (body["manifest"]["service"], body["expect"]) == ("hello", 3)


def test_changed_settings_need_no_upload(plane: Plane, project: Path, cli: Cli) -> None:
    """The control plane has one of the same files; nothing is packed."""
    plane.steps["hello"] = {**UPDATE, "files": [], "bundle": "ab" * 32}
    ran = cli("deploy")
    assert ran.code == 0
    assert "bundled" not in ran.err
    assert [path for _, path in made(plane) if "bundles" in path] == []
    [body] = [data for _, path, data in plane.requests if path.endswith("/releases")]
    assert body["bundle"] == "ab" * 32


def test_nothing_is_removed_without_prune(plane: Plane, project: Path, cli: Cli) -> None:
    """Nor is it looked for."""
    plane.steps["old"] = REMOVE
    assert "old" not in cli("plan").out
    assert cli("deploy").code == 0
    assert not [method for method, _ in made(plane) if method == "DELETE"]


def test_prune_removes_after_all_else(plane: Plane, project: Path, cli: Cli) -> None:
    """With `--yes`; of the release that the plan saw."""
    plane.steps["old"] = REMOVE
    assert cli("plan", "--prune").out == (
        "hello  create  1 file, 17 B\n    + app.py  17 B\n"
        "old    remove  release 2\n1 to create, 1 to remove\n"
    )
    ran = cli("deploy", "--prune", "--yes")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "old  removed")
    method, path, _ = plane.requests[-1]
    assert (method, path.partition("?")[0]) == ("DELETE", "/v1/services/old")
    assert "expect=2" in path


def test_without_a_terminal_a_removal_needs_yes(plane: Plane, project: Path, cli: Cli) -> None:
    """Before anything is done; exit code 2."""
    plane.steps["old"] = REMOVE
    for args in (["deploy", "--prune"], ["deploy", "--prune", "--json"]):
        plane.requests.clear()
        ran = cli(*args)
        assert (ran.code, made(plane)) == (2, [("POST", "/v1/plan")])
        assert "--yes" in ran.err


def test_at_a_terminal_it_asks(plane: Plane, project: Path) -> None:
    """No is the default and does nothing; nothing is asked if nothing is removed."""
    plane.steps["old"] = REMOVE
    with Typist(["-m", "koco", "deploy", "--prune"]) as typist:
        typist.sees("Remove old?")
        typist.types("\n", after="")
        assert typist.leaves() == 130
    assert made(plane) == [("POST", "/v1/plan")]
    with Typist(["-m", "koco", "deploy", "--prune"]) as typist:
        typist.sees("Remove old?")
        typist.types("y\n", after="")
        assert typist.leaves() == 0
    assert made(plane)[-1] == ("DELETE", "/v1/services/old")


def test_reports_a_refused_removal(plane: Plane, project: Path, cli: Cli) -> None:
    """The others are removed; exit code 2, in the control plane's words."""
    plane.steps |= {"a-old": REMOVE, "b-old": REMOVE}
    plane.busy = {"a-old"}
    ran = cli("deploy", "--prune", "-y")
    assert (ran.code, ran.out.splitlines()[-1]) == (2, "b-old  removed")
    assert "error: a-old has 2 executions\nhint: everything else is done; `koco undeploy" in ran.err


def test_prune_wants_the_whole_project(plane: Plane, project: Path, cli: Cli) -> None:
    """Naming manifests leaves others out: they would count as gone."""
    for command in ("plan", "deploy"):
        ran = cli(command, "--prune", "koco.yaml")
        assert (ran.code, plane.requests) == (2, [])
    (project / "koco.toml").unlink()
    ran = cli("plan", "--prune")
    assert (ran.code, plane.requests) == (2, [])
    assert "koco.toml" in ran.err


@pytest.mark.parametrize("what", ["broken", "link", "empty"])
def test_an_unreadable_folder_is_not_a_removed_service(
    plane: Plane, project: Path, cli: Cli, what: str
) -> None:
    """A manifest that does not parse, a link that leads nowhere, a pattern without files."""
    for name in ("two", "three"):
        (project / "more" / name).mkdir(parents=True)
    patterns = '["*.yaml", "more/*/koco.yaml"]'
    (project / "koco.toml").write_text(f'[project]\nname = "demo"\nmanifests = {patterns}\n')
    (project / ".kocoignore").write_text("more/\n")
    if what == "broken":
        (project / "more" / "two" / "koco.yaml").write_text("service: [")
    elif what == "link":
        (project / "more" / "two" / "koco.yaml").symlink_to("nowhere")
        (project / "more" / "three" / "koco.yaml").write_text(MANIFEST.format("three"))
        (project / "more" / "three" / "app.py").write_text("def greet(): ...\n")
    ran = cli("plan", "--prune")
    assert ran.code in (2, 4)
    assert "more/" in ran.err
    assert plane.requests == []


def test_a_folder_that_cannot_be_read_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though globbing says so: a manifest may be in there, and its service must stay."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        root.chmod(0o755)
        for each in ("one", "two"):
            (root / each).mkdir()
            (root / each / "koco.yaml").write_text(MANIFEST.format(each))
            (root / each / "app.py").write_text("def greet(): ...\n")
        (root / "koco.toml").write_text('[project]\nname = "demo"\nmanifests = ["*/koco.yaml"]\n')
        monkeypatch.chdir(root)
        assert len(plan.targets([], prune=True)) == 2
        (root / "two").chmod(0)
        with unprivileged(), pytest.raises(UsageError, match="two cannot be read"):
            plan.targets([], prune=True)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user whom permissions bind: root reads everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_reports_a_deploy_by_somebody_else(plane: Plane, project: Path, cli: Cli) -> None:
    """Another release is live than when the plan was made: exit code 2, with a hint."""
    plane.crossed = ConflictError("hello has changed meanwhile", hint="koco plan")
    ran = cli("deploy")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("error: hello has changed meanwhile\nhint: koco plan\n")


def test_of_several_the_others_are_deployed(plane: Plane, project: Path, cli: Cli) -> None:
    """They are waited for, and it says at the end which one was left alone: exit code 2."""
    for name in ("other", "third"):
        (project / f"{name}.yaml").write_text(MANIFEST.format(name))
    plane.crossed = ConflictError("other has changed meanwhile", hint="koco plan")
    plane.overtaken = {"other"}
    ran = cli("deploy")
    assert ran.code == 2
    assert [line.split()[0] for line in ran.out.splitlines()] == ["hello", "third"]
    assert ran.err.endswith("error: other has changed meanwhile\nhint: koco plan\n")


def test_colour_is_for_terminals(plane: Plane, project: Path, terminal: Cli) -> None:
    """Long values are cut; a file name cannot control the terminal."""
    long = {"path": "description", "part": "settings", "old": "", "new": "x" * 100}
    evil = {"path": "\x1b[2J", "change": "added", "old_bytes": None, "new_bytes": 5}
    plane.steps["hello"] = {**UPDATE, "changes": [long], "files": [evil]}
    shown = terminal("plan").out
    assert "\x1b[33mupdate\x1b[0m" in shown
    assert max(len(line) for line in shown.split("\n")) < 95  # with what colours add
    assert "\x1b[2J" not in shown
    assert "\x1b" not in terminal("plan", env={"NO_COLOR": "1"}).out
    assert terminal("plan", env={"COLUMNS": "wide"}).code == 0
    assert len(max(terminal("plan", env={"COLUMNS": "1"}).out.split("\n"), key=len)) < 80
