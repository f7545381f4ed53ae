"""The forms of deployment files."""

import json
import os
from pathlib import Path

import pytest

from koco.errors import ManifestError, NotFoundError, UsageError
from koco.project.conversion import sources


def names(path: Path) -> list[str]:
    """Return the names of a path's applications."""
    return [each.data.get("name", each.default_name) for each in sources.read(path).applications]


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text)
    return root


def test_an_application_is_named_after_its_file(tmp_path: Path) -> None:
    """As Kodosumi keeps them: one in each file."""
    write(tmp_path, news="import_path: a:b", prime="name: other\nimport_path: a:b")
    assert names(tmp_path / "news.yaml") == ["news"]
    assert names(tmp_path / "prime.yaml") == ["other"]


@pytest.mark.parametrize("more", ["", "applications: []\n", "applications:\n"])
def test_the_applications_of_kodosumis_base_are_beside_it(tmp_path: Path, more: str) -> None:
    """Kodosumi puts together a base and the other files of its folder."""
    base = f"http_options: {{port: 8001}}\n{more}"
    write(tmp_path, config=base, b="import_path: a:b", a="import_path: a:b")
    found = sources.read(tmp_path / "config.yaml")
    assert [each.default_name for each in found.applications] == ["a", "b"]
    assert set(found.global_keys) == {"http_options"}


def test_a_configuration_of_serve_has_its_own_applications(tmp_path: Path) -> None:
    """The files beside it are something else."""
    apps = "applications:\n- {name: one, import_path: a:b}\n- {import_path: a:b}\n"
    write(tmp_path, config=apps, other="import_path: a:b")
    assert names(tmp_path / "config.yaml") == ["one", f"{tmp_path.name}-2"]


def test_a_folder_gives_all_its_applications(tmp_path: Path) -> None:
    """Other files are left out and named; manifests of koco's as well."""
    write(tmp_path, news="import_path: a:b", koco="service: x", odd="a: [", list="- 1")
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "x.txt").write_text("import_path: a:b")
    found = sources.read(tmp_path)
    assert [each.default_name for each in found.applications] == ["news"]
    skipped = [path.name for path in found.skipped]
    assert skipped == ["koco.yaml", "list.yaml", "odd.yaml", "x.json"]


def test_a_project_of_kodosumis_keeps_its_files_in_data(tmp_path: Path) -> None:
    """`--from .` finds them."""
    (tmp_path / "data/config").mkdir(parents=True)
    write(tmp_path / "data/config", config="http_options: {}", news="import_path: a:b")
    write(tmp_path, mkdocs="site_name: x")
    assert names(tmp_path) == ["news"]


def test_each_service_may_have_its_own_file(tmp_path: Path) -> None:
    """As in Kodosumi's examples. Other YAML files below are left alone."""
    for name in ("examples/form", "examples/prime", "examples/prime/crew", ".venv/x", "docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "examples/form/config.yaml").write_text("import_path: a:b")
    (tmp_path / "examples/prime/config.yaml").write_text("name: second\nimport_path: a:b")
    (tmp_path / "examples/prime/crew/tasks.yaml").write_text("research: {agent: x}")
    (tmp_path / ".venv/x/config.yaml").write_text("import_path: a:b")
    (tmp_path / "docs/odd.yaml").write_text("a: [")
    assert names(tmp_path) == names(tmp_path / "examples") == ["form", "second"]
    assert sources.read(tmp_path).skipped == []


def test_a_broken_deployment_file_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """It would be missed silently."""
    write(tmp_path, news="import_path: a:b", prime="import_path: [")
    with pytest.raises(ManifestError):
        sources.read(tmp_path)


def test_reads_an_export_of_kodosumi(tmp_path: Path) -> None:
    """The names of exposes win, and drafts without a configuration are left out."""
    text = "name: ignored\nimport_path: a:b\nruntime_env: {env_vars: {A: '1'}}\n"
    exposes = [
        {"name": "my-agent", "display": "My Agent", "bootstrap": text, "enabled": 1},
        {"name": "draft", "bootstrap": None},
    ]
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"version": "1.0", "exposes": exposes}))
    [found] = sources.read(file).applications
    assert (found.data["name"], found.description) == ("my-agent", "My Agent")
    assert found.is_kodosumis


@pytest.mark.parametrize(
    ("bootstrap", "problem"),
    [
        ("a: [", r"export.json (bootstrap of x):1:5: "),
        ("name: y", "export.json (bootstrap of x):1:1: key 'import_path' is missing"),
    ],
)
def test_a_problem_in_an_export_names_the_expose(
    tmp_path: Path, bootstrap: str, problem: str
) -> None:
    """The line is one of the expose's own text."""
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"exposes": [{"name": "x", "bootstrap": bootstrap}]}))
    with pytest.raises(ManifestError) as caught:
        sources.read(file)
    assert problem in caught.value.problems[0]


def test_a_missing_path_is_not_found(tmp_path: Path) -> None:
    """Exit code 4."""
    with pytest.raises(NotFoundError):
        sources.read(tmp_path / "no.yaml")


def test_without_an_application_there_is_nothing_to_convert(tmp_path: Path) -> None:
    """Neither in an empty folder, nor in a base that stands alone."""
    with pytest.raises(UsageError, match="no application"):
        sources.read(tmp_path)
    write(tmp_path, config="http_options: {}")
    with pytest.raises(UsageError, match="no application"):
        sources.read(tmp_path / "config.yaml")


def test_merge_keys_share_an_environment(tmp_path: Path) -> None:
    """As in YAML 1.1, which Kodosumi and Ray Serve read: a mapping's own keys win."""
    text = (
        "applications:\n"
        "- &base {name: one, import_path: 'a:app', runtime_env: {env_vars: &env {A: x, B: y}}}\n"
        "- {<<: *base, name: two, runtime_env: {env_vars: {<<: [*env, {C: z, B: never}], A: w}}}\n"
    )
    found = sources.read(write(tmp_path, serve=text) / "serve.yaml")
    assert [each.data["name"] for each in found.applications] == ["one", "two"]
    assert found.applications[1].data["import_path"] == "a:app"
    assert found.applications[1].environment["env_vars"] == {"A": "w", "B": "y", "C": "z"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import_path: a:b\n<<: text\n", "x.yaml:2:5: `<<` takes a mapping"),
        ("import_path: a:b\na: &a {<<: *a}\n", "an alias that contains itself"),
        ("import_path: a:b\n'<<': {c: d}\n", None),
    ],
)
def test_odd_merge_keys(tmp_path: Path, text: str, problem: str | None) -> None:
    path = write(tmp_path, x=text) / "x.yaml"
    if problem is None:
        assert sources.read(path).applications[0].data["<<"] == {"c": "d"}
        return
    with pytest.raises(ManifestError, match=problem):
        sources.read(path)


def test_a_bomb_of_merge_keys_is_refused(tmp_path: Path) -> None:
    """Each level merges the one before ten times."""
    levels = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    text = "\n".join(["import_path: a:b", "a0: &a0 {x: y}", *levels])
    with pytest.raises(ManifestError, match="counting those that aliases repeat"):
        sources.read(write(tmp_path, x=text) / "x.yaml")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Reading one would wait for its other end."""
    os.mkfifo(tmp_path / "config.yaml")
    for path in (tmp_path, tmp_path / "config.yaml"):
        with pytest.raises(ManifestError, match="cannot be read: it is not a file"):
            sources.read(path)


def test_a_folder_says_why_its_only_file_cannot_be_read(tmp_path: Path) -> None:
    """And not only that nothing is declared there."""
    with pytest.raises(ManifestError, match=r"config\.yaml:1:5"):
        sources.read(write(tmp_path, config="a: ["))
