"""The commands that need no control plane: init, validate, schema; and every template."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from koco.cli.main import run
from koco.cli.scaffold.names import Names
from koco.forms import Model
from koco.manifest.schema import json_schema
from koco.project import project
from tests.support.checkout import ROOT

TEMPLATES = ["hello", "parallel", "files", "endpoint", "durable", "agent"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_the_templates_that_are_promised() -> None:
    """These, and no others."""
    found = (path.parent.name for path in (ROOT / "templates").glob("*/template.toml"))
    assert sorted(found) == sorted(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_is_valid_and_complete(here: Path, template: str) -> None:
    """Every template: it checks, its flow is there, and no placeholder is left."""
    assert run(["init", "My Demo", "--template", template]) == 0
    root = here / "My Demo"
    valid, told = project.check(project.targets(start=root))
    assert told == []
    flows = [flow.name for flow in valid[0].manifest.flows] or ["review"]  # the app's
    about = tomllib.loads((ROOT / "templates" / template / "template.toml").read_text())
    assert about["run"].split()[0] in flows
    assert valid[0].manifest.service == "my-demo"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    expected = {"koco.toml", "koco.yaml", "README.md", ".gitignore", "tests/test_app.py"}
    assert files >= expected | {"my_demo/app.py", "pyproject.toml", "koco.schema.json"}
    assert not {name for name in files if "template.toml" in name or "__PACKAGE__" in name}
    for name in files:
        text = (root / name).read_text()
        assert "__SERVICE__" not in text
        assert "__PACKAGE__" not in text


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_editor_finds_the_schema_of_a_new_manifest(here: Path, template: str) -> None:
    """The manifest's first line names a file beside it, which is not shipped."""
    assert run(["init", "demo", "--template", template]) == 0
    first = (here / "demo/koco.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=koco.schema.json"
    schema = json.loads((here / "demo/koco.schema.json").read_text())
    assert schema == json_schema()
    jsonschema.validate(yaml.safe_load((here / "demo/koco.yaml").read_text()), schema)
    [target] = project.targets(start=here / "demo")
    assert "koco.schema.json" not in {file.name for file in target.tree.files}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_can_be_installed(here: Path, template: str) -> None:
    """It needs koco by the name of its distribution, and pytest to develop it."""
    assert run(["init", "json", "--template", template]) == 0
    about = tomllib.loads((here / "json/pyproject.toml").read_text())
    assert about["project"]["name"] == "json_flows"
    assert about["project"]["dependencies"][0] == "koco-deploy"
    assert about["dependency-groups"]["dev"] == ["pytest"]
    assert about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["json_flows"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_passes_its_own_test(here: Path, template: str) -> None:
    """Without Ray, and as its README says."""
    assert run(["init", "demo", "--template", template]) == 0
    assert "    python -m pytest\n" in (here / "demo/README.md").read_text()
    code = "import sys, pytest; sys.modules['ray'] = None; sys.exit(pytest.main(['-q']))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here / "demo",
        # The folder first on the path, as `python -m` has it, and koco as it is here; without the
        # plugins that are here for other tests.
        env={
            **os.environ,
            "PYTHONPATH": f"{here / 'demo'}{os.pathsep}{ROOT}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_defaults_of_hello_pass_its_form(here: Path) -> None:
    """`koco run greet` needs no inputs at all."""
    assert run(["init", "demo"]) == 0
    flow = project.targets(start=here / "demo")[0].manifest.flows[0]
    assert flow.inputs is not None
    assert Model.from_list(flow.inputs).validate({}) == {"who": "World", "times": 1}


def test_prints_the_next_steps_on_stderr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder on stdout, the next steps on stderr."""
    assert run(["init", "demo"]) == 0
    told = capsys.readouterr()
    assert told.out == "demo\n"
    created, *steps = told.err.splitlines()
    assert created == "created 9 files from the template 'hello' (`koco init --list` lists others)"
    wanted = ["  cd demo", "  koco up", "  koco deploy", "  koco run greet -f"]
    assert steps == ["next:", *wanted]


def test_the_current_folder_will_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named after it, and there is nowhere to go."""
    (here / ".git").mkdir()
    assert run(["init", "--name", "Night Hymn"]) == 0
    assert "cd " not in capsys.readouterr().err
    assert project.targets(start=here)[0].manifest.flows[0].entrypoint == "night_hymn.app:greet"


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the way is named, all of it; nothing at all is written."""
    (here / "demo/tests").mkdir(parents=True)
    (here / "demo/koco.yaml").write_text("mine")
    (here / "demo/demo").write_text("no folder")
    (here / "demo/README.md").symlink_to("nowhere")
    assert run(["init", "demo"]) == 2
    told = capsys.readouterr()
    assert "these already exist in demo: README.md, demo, koco.yaml" in told.err
    assert told.out == ""
    found = sorted(path.name for path in (here / "demo").iterdir())
    assert found == ["README.md", "demo", "koco.yaml", "tests"]
    assert not list((here / "demo/tests").iterdir())


def test_a_file_cannot_become_a_project(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor can a folder in it."""
    (here / "demo").write_text("mine")
    assert run(["init", "demo"]) == 2
    assert run(["init", "demo/inner"]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_an_unknown_template_is_not_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest is named; nothing is written."""
    assert run(["init", "demo", "--template", "paralel"]) == 4
    assert "did you mean 'parallel'?" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_templates_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its line; as JSON like every list."""
    assert run(["init", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["TEMPLATE", *TEMPLATES]
    assert all(line.split("\t")[1] for line in lines)
    assert run(["init", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed["items"]] == TEMPLATES
    assert listed["next"] is None


@pytest.mark.parametrize(
    ("text", "service", "package"),
    [
        ("hello", "hello", "hello"),
        ("My Demo_2", "my-demo-2", "my_demo_2"),
        ("3d-print", "d-print", "d_print"),
        ("Müller & Söhne", "muller-sohne", "muller_sohne"),
        ("json", "json", "json_flows"),
        ("class", "class", "class_flows"),
        ("tests", "tests", "tests_flows"),
        ("ray", "ray", "ray_flows"),
        ("koco-deploy", "koco-deploy", "koco_deploy_flows"),
        ("pytest", "pytest", "pytest_flows"),
        ("a" * 80, "a" * 63, "a" * 63),
    ],
)
def test_names_are_made_of_a_folders(text: str, service: str, package: str) -> None:
    """A service's in kebab-case, a package's that hides no module."""
    assert Names.of(text) == Names(service, package)


def test_a_folder_without_letters_needs_a_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name is made up."""
    assert run(["init", "123"]) == 2
    assert "--name" in capsys.readouterr().err


def test_validate_lists_valid_manifests_and_all_problems(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The right ones on stdout, problems on stderr, exit 2."""
    assert run(["init", "a"]) == 0
    assert run(["init", "b"]) == 0
    capsys.readouterr()
    assert run(["validate", "a"]) == 0
    assert capsys.readouterr().out == "a/koco.yaml  a  greet\n"
    (here / "b/koco.yaml").write_text("service: b\n")
    assert run(["validate", "a", "b"]) == 2
    told = capsys.readouterr()
    assert told.out == "a/koco.yaml  a  greet\n"
    assert "b/koco.yaml:1:1: key 'flows' is missing" in told.err


def test_validate_speaks_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list on stdout, the error on stderr."""
    assert run(["init", "a"]) == 0
    capsys.readouterr()
    assert run(["validate", "a", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    path = str(here / "a/koco.yaml")
    assert listed == {
        "items": [{"path": path, "service": "a", "flows": ["greet"], "app": None}],
        "next": None,
    }
    (here / "a/a/app.py").unlink()
    assert run(["validate", "a", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["items"] == []
    assert "no a/app.py among the files" in json.loads(told.err)["error"]["message"]


def test_validate_without_a_project_shows_how_to_begin(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4: there is nothing to check."""
    assert run(["validate"]) == 4
    assert "koco init" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "title"), [([], "koco manifest"), (["--koco-toml"], "koco.toml")])
def test_schema_prints_a_schema(
    args: list[str], title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else."""
    assert run(["schema", *args]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == title
