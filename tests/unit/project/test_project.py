"""koco.toml: found, checked, and turned into what is to be deployed."""

from pathlib import Path

import pytest

from koco import file_reading
from koco.errors import ManifestError, NotFoundError
from koco.project import project

MANIFEST = "service: {name}\nflows:\n  - name: run\n    entrypoint: app:run\n"


def make(root: Path, *folders: str, toml: str = '[project]\nname = "demo"\n') -> Path:
    (root / "koco.toml").write_text(toml)
    for folder in folders or (".",):
        (root / folder).mkdir(parents=True, exist_ok=True)
        name = Path(folder).name or "root"
        (root / folder / "koco.yaml").write_text(MANIFEST.format(name=name))
        (root / folder / "app.py").write_text("def run(): ...\n")
    return root


def problems(root: Path, toml: str) -> list[str]:
    (root / "koco.toml").write_text(toml)
    with pytest.raises(ManifestError) as caught:
        project.load(root / "koco.toml")
    return [problem.removeprefix(f"{root}/") for problem in caught.value.problems]


def paths(targets: list[project.Target], root: Path) -> list[str]:
    return [target.manifest_path.relative_to(root).as_posix() for target in targets]


def test_a_project_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    """As git finds its repository; elsewhere there is none."""
    toml = '[project]\nname = "demo"\n[deploy]\ncontext = "local"\ntimeout = 120\n'
    (tmp_path / "p").mkdir()
    make(tmp_path / "p", toml=toml)
    (tmp_path / "p/a/b").mkdir(parents=True)
    root = tmp_path / "p"
    assert project.find(root / "a/b") == project.Project(
        "demo", root, (root / "koco.yaml",), "local", 120, ("koco.yaml",)
    )
    assert project.find(tmp_path) is None


def test_manifests_are_paths_and_globs(tmp_path: Path) -> None:
    """Each once, sorted within a glob; from wherever one stands."""
    toml = '[project]\nname = "demo"\nmanifests = ["b/koco.yaml", "*/koco.yaml"]\n'
    make(tmp_path, "c", "a", "b", toml=toml)
    found = project.targets(start=tmp_path / "a")
    assert paths(found, tmp_path) == ["b/koco.yaml", "a/koco.yaml", "c/koco.yaml"]
    assert [target.root for target in found] == [tmp_path / name for name in "bac"]


def test_arguments_name_manifests_folders_and_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, a folder with a manifest, a folder with a project; the same one once."""
    make(tmp_path, "a", "b")
    (tmp_path / "other").mkdir()
    make(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    found = project.targets(["b/koco.yaml", "a", "b", "other"])
    assert paths(found, tmp_path) == ["b/koco.yaml", "a/koco.yaml", "other/koco.yaml"]


def test_a_manifest_needs_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, or as `koco.yaml` in the current folder."""
    make(tmp_path, ".", "a")
    (tmp_path / "koco.toml").unlink()
    monkeypatch.chdir(tmp_path)
    assert paths(project.targets(["a/koco.yaml"]), tmp_path) == ["a/koco.yaml"]
    assert paths(project.targets(), tmp_path) == ["koco.yaml"]


def test_what_is_not_there_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No project, no such file, a project whose manifest is gone, a glob without a match."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"no koco\.toml here or above") as caught:
        project.targets()
    assert "koco init" in (caught.value.hint or "")
    with pytest.raises(NotFoundError, match=r"no manifest x\.yaml"):
        project.targets(["x.yaml"])
    make(tmp_path)
    (tmp_path / "koco.yaml").unlink()
    with pytest.raises(NotFoundError, match=r"no manifest .*koco\.yaml"):
        project.targets()
    make(tmp_path, toml='[project]\nname = "x"\nmanifests = ["*/none.yaml"]\n')
    with pytest.raises(NotFoundError, match="no file matches"):
        project.targets()


def test_every_problem_of_koco_toml_is_told_at_its_place(tmp_path: Path) -> None:
    """With the nearest known key or table."""
    toml = '[project]\nnam = "x"\nmanifests = "koco.yaml"\n\n[deploi]\n\n[deploy]\ntimeout = "1"\n'
    assert problems(tmp_path, toml) == [
        "koco.toml:1:2: project: key 'name' is missing (hint: The project's name)",
        "koco.toml:2:1: project.nam: unknown key (hint: did you mean 'name'?)",
        "koco.toml:3:1: project.manifests: expected a list of paths, got the text 'koco.yaml' "
        "(hint: write it as [koco.yaml])",
        "koco.toml:5:2: deploi: unknown key (hint: did you mean 'deploy'?)",
        "koco.toml:8:1: deploy.timeout: expected a number of seconds, got the text '1' "
        "(hint: without quotes: 1)",
    ]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", "koco.toml:1:1: table [project] is missing"),
        ("[project]\nname = \n", "koco.toml:2:8: Invalid value"),
        ('[project]\nname = "x', "koco.toml:2:10: Unterminated string"),
        ("[project", "koco.toml:1:9: Expected ']'"),
        ("project = 3\n", "koco.toml:1:1: project: expected a table [project], got the number 3"),
        ('[project]\nname = ""\n', "koco.toml:2:1: project.name: must not be empty"),
        ('[project]\nname = "x"\nmanifests = []\n', "project.manifests: must have at least one"),
        ('[project]\nname = "x"\nmanifests = ["/a"]\n', "must be relative to koco.toml"),
        ('[project]\nname = "x"\n[deploy]\ntimeout = 0\n', "deploy.timeout: must be above 0"),
        ('[project]\nname = "x"\n[deploy]\ntimeout = true\n', "got true"),
        ('[project]\nname = "x"\n[deploy]\ntimeout = nan\n', "must be above 0, got nan"),
    ],
)
def test_what_is_wrong_with_koco_toml_is_said(tmp_path: Path, toml: str, said: str) -> None:
    """One problem for one mistake, syntax included."""
    (problem,) = problems(tmp_path, toml)
    assert said in problem


def test_all_manifests_are_checked_together(tmp_path: Path) -> None:
    """The right ones are known, and all problems of the others; a service has one manifest."""
    toml = '[project]\nname = "demo"\nmanifests = ["*/koco.yaml"]\n'
    make(tmp_path, "a", "b", "c", "d", toml=toml)
    (tmp_path / "b/koco.yaml").write_text("service: b\n")
    (tmp_path / "c/koco.yaml").write_text(MANIFEST.format(name="a"))
    (tmp_path / "d/app.py").rename(tmp_path / "d/apps.py")
    valid, told = project.check(project.targets(start=tmp_path))
    assert [target.manifest.service for target in valid] == ["a"]
    assert len(told) == 3
    assert "b/koco.yaml:1:1: key 'flows' is missing" in told[0]
    assert "c/koco.yaml:1:10: service: 'a' is the service of" in told[1]
    assert "d/koco.yaml:4:17: flows[0].entrypoint: there is no app.py among" in told[2]


def test_an_ignored_module_is_missing(tmp_path: Path) -> None:
    """What is not shipped cannot be imported there."""
    make(tmp_path)
    (tmp_path / ".gitignore").write_text("app.py\n")
    assert len(project.check(project.targets(start=tmp_path))[1]) == 1


INSTALLING = """\
service: demo
runtime:
  {runtime}
flows:
  - name: run
    entrypoint: app:run
"""


def installing(tmp_path: Path, runtime: str, **files: str) -> list[str]:
    make(tmp_path)
    (tmp_path / "koco.yaml").write_text(INSTALLING.format(runtime=runtime))
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return project.check(project.targets(start=tmp_path), environ={"SET": "1"})[1]


@pytest.mark.parametrize("toml", [None, '[project]\nname = "demo"\nmanifests = ["deploy/*"]\n'])
def test_a_manifest_in_a_folder_of_its_own_names_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str | None
) -> None:
    """Without it nothing would be shipped: refused, and told where the module is."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "app.py").write_text("def run(): ...\n")
    if toml:
        (tmp_path / "koco.toml").write_text(toml)
    manifest = tmp_path / "deploy/koco.yaml"
    manifest.write_text(MANIFEST.format(name="one"))
    monkeypatch.chdir(tmp_path)
    valid, told = project.check(project.targets([] if toml else [str(manifest)]))
    assert not valid
    assert "no file is shipped, so there is no app.py" in told[0]
    assert f"(hint: there is {tmp_path}/app.py; `root: ..` ships that folder)" in told[0]
    manifest.write_text(MANIFEST.format(name="one") + "root: ..\n")
    ([target], told) = project.check(project.targets([] if toml else [str(manifest)]))
    assert not told
    assert "app.py" in [file.name for file in target.tree.files]
    assert target.root == tmp_path


def test_a_module_that_a_dependency_must_bring_is_noted(tmp_path: Path) -> None:
    """It may be one that was left at home."""
    make(tmp_path)
    dependencies = "runtime: {dependencies: [other]}\n"
    text = MANIFEST.format(name="one").replace("app:run", "other:run") + dependencies
    (tmp_path / "koco.yaml").write_text(text)
    [target] = project.targets([str(tmp_path / "koco.yaml")])
    assert target.check()
    [note] = target.notes()
    assert "koco.yaml:4:" in note and "a dependency must bring it" in note


@pytest.mark.parametrize("other", [None, "other.py"])
@pytest.mark.parametrize(
    ("place", "root"), [("src", "../src"), ("", ".."), ("deploy/inner", "inner")]
)
def test_a_module_in_a_folder_near_is_found(
    tmp_path: Path, place: str, root: str, other: str | None
) -> None:
    """Beside the manifest's, above or within it; whether anything is shipped or not."""
    for folder in ("sub/deploy", f"sub/{place}/pkg"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f"sub/{place}/pkg/flow.py").touch()
    if other:
        (tmp_path / "sub/deploy" / other).touch()
    manifest = tmp_path / "sub/deploy/koco.yaml"
    text = MANIFEST.format(name="one").replace("app:run", "pkg.flow:run")
    assert "pkg.flow:run" in text
    manifest.write_text(text)
    _, [told] = project.check(project.targets([str(manifest)]))
    assert f"`root: {root}` ships that" in told and "ignore" not in told
    manifest.write_text(f"{text}root: {root}\n")
    assert not project.check(project.targets([str(manifest)]))[1]
    (tmp_path / f"sub/{place}/.gitignore").write_text("pkg/\n")
    _, [told] = project.check(project.targets([str(manifest)]))
    assert "pkg/flow.py is here, but ignore rules" in told


def test_a_module_that_is_nowhere_near_is_told_without_a_guess(tmp_path: Path) -> None:
    """Nobody is sent to the ignore rules for a file that there is not."""
    (tmp_path / "deploy").mkdir()
    manifest = tmp_path / "deploy/koco.yaml"
    manifest.write_text(MANIFEST.format(name="one"))
    _, [told] = project.check(project.targets([str(manifest)]))
    assert told.endswith("(hint: if it is in another folder, set `root` to that)")


def test_a_module_that_hides_pythons_own_is_refused(tmp_path: Path) -> None:
    """Ray would import it, and not come up."""
    make(tmp_path)
    (tmp_path / "queue.py").touch()
    _, [told] = project.check(project.targets([str(tmp_path / "koco.yaml")]))
    assert "koco.yaml: queue.py would be imported in place of Python's own 'queue'" in told


def test_files_that_say_what_to_install_are_read(tmp_path: Path) -> None:
    """What is not shipped is told at its key, what is wrong in a file at its line."""
    assert installing(tmp_path, "requirements: requirements.txt", requirements_txt="six\n") == []
    [missing] = installing(tmp_path, "requirements: other.txt")
    assert "koco.yaml:3:17: runtime.requirements: other.txt is not among the files" in missing
    [fault] = installing(tmp_path, "requirements: requirements.txt", requirements_txt="six\n-e .")
    assert "requirements.txt:2:1: nodes install nothing in editable form" in fault
    (tmp_path / ".gitignore").write_text("uv.lock\n")
    text = '[project]\nname = "x"\n'
    [lock] = installing(tmp_path, "pyproject: pyproject.toml", pyproject_toml=text, uv_lock="")
    assert "there is no uv.lock among the files to ship" in lock
    assert "`uv lock`" in lock
    (tmp_path / ".gitignore").unlink()
    assert installing(tmp_path, "pyproject: pyproject.toml", pyproject_toml=text) == []
    [broken] = installing(tmp_path, "pyproject: pyproject.toml", pyproject_toml="x")
    assert "pyproject.toml:1:1: is not TOML" in broken


@pytest.mark.parametrize("name", ["koco.yaml", "koco.toml", "requirements.txt"])
def test_a_file_that_is_being_saved_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Who saves one empties it first, and then all would be missing in it."""
    make(tmp_path)
    (tmp_path / "requirements.txt").write_text("six\n")
    with (tmp_path / "koco.yaml").open("a") as manifest:
        manifest.write("runtime: {requirements: requirements.txt}\n")
    path = tmp_path / name
    text = path.read_text()
    monkeypatch.setattr(file_reading, "MOMENT_S", 60)
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_text(text))
    path.write_text("" if name != "requirements.txt" else "-e .\n")
    valid, told = project.check(project.targets(start=tmp_path))
    assert (len(valid), told) == (1, [])


def test_variables_come_from_the_deployers_environment(tmp_path: Path) -> None:
    """One that is not set is told at its line; a check without a deploy leaves them as they are."""
    assert installing(tmp_path, "env: {A: '${SET}', B: '${UNSET:-x}'}") == []
    [target] = project.check(project.targets(start=tmp_path), environ={"SET": "1"})[0]
    assert target.manifest.runtime.env == {"A": "1", "B": "x"}
    [target] = project.check(project.targets(start=tmp_path))[0]
    assert target.manifest.runtime.env == {"A": "${SET}", "B": "${UNSET:-x}"}
    [problem] = installing(tmp_path, "env: {A: '${UNSET}'}")
    assert "koco.yaml:3:12: runtime.env.A: ${UNSET} is not set in this environment" in problem
    assert project.check(project.targets(start=tmp_path))[1] == []
    installing(tmp_path, "env: {A: '${'}")
    assert len(project.check(project.targets(start=tmp_path))[1]) == 1
