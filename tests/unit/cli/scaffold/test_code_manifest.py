"""`koco init --from module:function`: the manifest for code that exists."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.cli.main import run
from koco.manifest import load
from koco.project import project

CODE = '''
"""A module."""
import fastapi
from koco import Launch, ServeAPI, Tracer

LIMIT = 3
app = ServeAPI()
web = fastapi.FastAPI()

@app.enter("/orders/weigh")
def enter(request: fastapi.Request): return Launch(request, weigh)

def weigh(tracer: Tracer, what: str, grams: int = 5, note=None):
    """Weigh something.

    To the gram.
    """

def anything(inputs: dict): ...

def by_position(a, /): ...
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    write(tmp_path, {"lab/__init__.py": "", "lab/scales.py": CODE})
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("lab", "broken", "src", "scales"):
            del sys.modules[name]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_the_manifest_is_valid_and_the_code_stays(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest on stdout; what was written, what to know and what to do on stderr."""
    assert run(["init", "--from", "lab.scales:weigh", "--name", "Lab"]) == 0
    told = capsys.readouterr()
    assert told.out == "koco.yaml  lab\n"
    assert told.err.splitlines() == [
        "created koco.schema.json, koco.toml, koco.yaml from lab.scales:weigh",
        "note: lab: note: has no type, so it takes any JSON; "
        "a type hint (such as `: str`) makes a field",
        *("next:", "  koco validate", "  koco up", "  koco deploy", "  koco run weigh -f"),
    ]
    manifest = load.load(here / "koco.yaml")
    [flow] = manifest.flows
    assert (manifest.service, flow.name, flow.entrypoint) == ("lab", "weigh", "lab.scales:weigh")
    assert flow.summary == "Weigh something"
    assert project.check(project.targets())[1] == []
    first = (here / "koco.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=koco.schema.json"
    assert names(here) == {"lab", "koco.yaml", "koco.toml", "koco.schema.json"}
    assert (here / "lab/scales.py").read_text() == CODE


def test_a_file_is_named_by_its_path(here: Path) -> None:
    """Its folder becomes the root, as `koco run ./FILE:FUNCTION` takes it."""
    write(here, {"src/scales.py": CODE})
    assert run(["init", "--from", "./src/scales.py:weigh", "--name", "lab"]) == 0
    manifest = load.load(here / "koco.yaml")
    assert (manifest.root, manifest.flows[0].entrypoint) == ("src", "scales:weigh")
    assert project.check(project.targets())[1] == []


def test_an_endpoint_becomes_the_services_app(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `ServeAPI` is no flow; the first of its flows is the one to run."""
    assert run(["init", "--from", "lab.scales:app", "--name", "lab"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "  koco run orders-weigh -f"
    manifest = load.load(here / "koco.yaml")
    assert (manifest.app, manifest.flows) == ("lab.scales:app", ())
    assert project.check(project.targets())[1] == []


def test_a_function_that_takes_everything_is_noted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no form; the note says how to give it one. `--json` has it, too."""
    assert run(["init", "--from", "lab.scales:anything", "--name", "lab", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    [service] = made["services"]
    assert [note["key"] for note in service["notes"]] == ["inputs"]
    assert made["files"] == ["koco.schema.json", "koco.toml", "koco.yaml"]
    assert made["problems"] == []


@pytest.mark.parametrize(
    ("files", "runtime", "noted"),
    [
        ({"requirements.txt": "six\n"}, {"requirements": "requirements.txt"}, ""),
        (
            {"pyproject.toml": '[project]\ndependencies = ["six"]', "uv.lock": ""},
            {"pyproject": "pyproject.toml"},
            "",
        ),
        (
            {"pyproject.toml": '[project]\ndependencies = ["six"]'},
            {},
            "pyproject.toml: six: list under `runtime.dependencies`",
        ),
        ({"pyproject.toml": "[project]\n"}, {}, ""),
        ({"pyproject.toml": "project = 3"}, {}, ""),
    ],
)
def test_packages_that_are_listed_are_installed(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    runtime: dict[str, str],
    noted: str,
) -> None:
    """A lock before a file of requirements; a list without a lock is noted."""
    write(here, files)
    assert run(["init", "--from", "lab.scales:weigh", "--name", "lab"]) == 0
    found = load.load(here / "koco.yaml").runtime.model_dump(exclude_defaults=True)
    assert found == runtime
    assert noted in capsys.readouterr().err


def test_an_existing_koco_toml_stays(here: Path) -> None:
    """Only what is missing is written, if that names the manifest."""
    mine = '[project]\nname = "mine"\nmanifests = ["*.yaml"]\n'
    write(here, {"koco.toml": mine, "koco.schema.json": "{}"})
    assert run(["init", "--from", "lab.scales:weigh", "--name", "lab"]) == 0
    assert (here / "koco.toml").read_text() == mine
    assert (here / "koco.schema.json").read_text() == "{}"
    assert (here / "koco.yaml").exists()


def test_an_existing_koco_toml_must_name_the_manifest(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint is the line to add."""
    write(here, {"koco.toml": '[project]\nname = "mine"\nmanifests = ["a/koco.yaml"]\n'})
    assert run(["init", "--from", "lab.scales:weigh", "--name", "lab"]) == 2
    told = capsys.readouterr().err
    assert "koco.toml exists, and does not name koco.yaml" in told
    assert 'hint: add "koco.yaml" to its `manifests`' in told
    assert not (here / "koco.yaml").exists()


def test_an_existing_manifest_stays_and_the_hint_is_what_to_add(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is overwritten."""
    write(here, {"koco.yaml": "mine"})
    assert run(["init", "--from", "lab.scales:weigh", "--name", "lab"]) == 2
    told = capsys.readouterr().err
    assert "koco.yaml exists" in told
    assert "add to it under `flows`: `- {name: weigh, entrypoint: 'lab.scales:weigh'}`" in told
    assert (here / "koco.yaml").read_text() == "mine"
    assert not (here / "koco.toml").exists()


@pytest.mark.parametrize(
    ("named", "code", "message"),
    [
        ("lab.scales:wiegh", 4, "did you mean lab.scales:weigh?"),
        ("lab.scalse:weigh", 4, "did you mean 'lab.scales'?"),
        ("lab.scales:LIMIT", 4, "is not callable, but an int"),
        ("lab.scales:by_position", 4, "takes 'a' by position only"),
        ("lab/scales.py", 2, "names no function"),
        ("..:weigh", 4, "'..' is not the name of a module"),
        ("lab.scales:web", 4, "is a FastAPI, not a ServeAPI"),
        ("broken:run", 5, "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        ("broken:run", 5, 'broken.py", line 1, in <module>\n    1 / 0\n'),
        ("lacking:run", 5, "install 'no_such_package' beside koco"),
        ("leaving:run", 5, "leaving.py cannot be imported: SystemExit: 3"),
    ],
)
def test_what_cannot_be_a_flow_is_explained(
    here: Path, capsys: pytest.CaptureFixture[str], named: str, code: int, message: str
) -> None:
    """With the same exit codes as `koco run ./FILE:FUNCTION`; nothing is written."""
    write(here, {"broken.py": "1 / 0\ndef run(): ...\n"})
    write(here, {"lacking.py": "import no_such_package\ndef run(): ...\n"})
    write(here, {"leaving.py": "import sys\nsys.exit(3)\ndef run(): ...\n"})
    assert run(["init", "--from", named, "--name", "lab"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert "/koco/cli/" not in told
    assert not (here / "koco.toml").exists()
