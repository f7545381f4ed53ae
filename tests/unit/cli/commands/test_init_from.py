"""`koco init --from`: deployment files of Kodosumi and Ray Serve become a project."""

import json
from pathlib import Path

import pytest

from koco.cli.main import run
from tests.unit.project.conversion.projects import APP, write

KEY = "sk-proj-" + "a1B2" * 10

FULL = f"""\
{APP}name: company_news
runtime_env:
  conda: old
  env_vars: {{OPENAI_API_KEY: {KEY}}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write(tmp_path, {"data/config/news.yaml": FULL}))
    return tmp_path


def test_the_project_is_valid_and_the_steps_are_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manifests on stdout; notes and steps on stderr; a key nowhere. Code stays as it is."""
    before = (here / "news/query.py").read_text()
    assert run(["init", "--from", "data/config/news.yaml"]) == 0
    told = capsys.readouterr()
    assert told.out == "koco.yaml  company-news\n"
    assert told.err.splitlines() == [
        "created koco.schema.json, koco.toml, koco.yaml from data/config/news.yaml",
        "note: company-news: runtime_env.conda: koco has no Conda environments, "
        "so 'old' is left out",
        "next:",
        *("  koco validate", "  koco up", "  koco secret set OPENAI_API_KEY"),
        *("  koco deploy", "  koco flows"),
    ]
    assert KEY not in (here / "koco.yaml").read_text() + (here / "koco.toml").read_text()
    assert run(["validate"]) == 0
    assert capsys.readouterr().err == ""
    assert (here / "news/query.py").read_text() == before


def test_speaks_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The services with their secrets and notes, and what is still wrong."""
    assert run(["init", "--from", ".", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(here) and shown["from"] == "."
    assert shown["files"] == ["koco.schema.json", "koco.toml", "koco.yaml"]
    [service] = shown["services"]
    assert (service["service"], service["manifest"]) == ("company-news", "koco.yaml")
    assert service["secrets"] == ["OPENAI_API_KEY"]
    assert "runtime_env.conda" in [note["key"] for note in service["notes"]]
    assert shown["problems"] == []


def test_a_folder_that_is_yet_to_be_downloaded_is_a_problem(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `koco validate` will say."""
    url = "https://github.com/a/b/archive/c.zip"
    write(here, {"x.yaml": f"import_path: far.away:x\nruntime_env: {{py_modules: ['{url}']}}"})
    assert run(["init", "--from", "x.yaml"]) == 0
    told = capsys.readouterr().err
    assert f"problem: koco.yaml: {here / 'b-c'}: there is no such folder\n" in told
    assert f"`curl -Lo code.zip {url} && python -m zipfile -e code.zip .`" in told
    write(here / "b-c", {"far/away.py": ""})
    assert run(["validate"]) == 0


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a manifest nor a koco.toml."""
    mine = '[project]\nname = "mine"\nmanifests = ["other.yaml"]\n'
    (here / "koco.toml").write_text(mine)
    assert run(["init", "--from", "data/config/news.yaml"]) == 2
    assert "koco.toml exists, and does not name koco.yaml" in capsys.readouterr().err
    assert not (here / "koco.yaml").exists()
    (here / "koco.toml").unlink()
    (here / "koco.yaml").write_text("mine")
    assert run(["init", "--from", "data/config/news.yaml"]) == 2
    assert "these already exist in .: koco.yaml" in capsys.readouterr().err
    assert not (here / "koco.toml").exists()
    assert (here / "koco.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("--from no.yaml", 4, "no.yaml: there is no such file or folder"),
        ("--from news", 2, "news: no application is declared here"),
        ("--from data --template hello", 2, "--from and --template exclude each other"),
        ("--from x.yaml", 2, "x.yaml:1:14: import_path: 'app' is not module:object"),
    ],
)
def test_a_mistake_is_explained(
    here: Path, capsys: pytest.CaptureFixture[str], args: str, code: int, message: str
) -> None:
    """With an exit code, and without a file."""
    (here / "x.yaml").write_text("import_path: app")
    assert run(["init", *args.split()]) == code
    assert message in capsys.readouterr().err
    assert not (here / "koco.toml").exists()
