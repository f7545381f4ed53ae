"""At a terminal, `koco init` asks which template; elsewhere it takes the default."""

from pathlib import Path

import pytest

from koco.cli.main import run
from tests.support.typist import CTRL_C, Typist


def typist(tmp_path: Path, *args: str) -> Typist:
    return Typist(["-m", "koco", "init", "demo", *args], stdout=tmp_path / "out", cwd=tmp_path)


def test_a_person_is_asked_with_a_line_for_each(tmp_path: Path) -> None:
    """By number or name; what is no template is asked again. No line is longer than 80."""
    with typist(tmp_path) as person:
        person.sees("Which template?")
        person.sees("1  hello ")
        person.sees("[default]")
        person.sees("6  agent ")
        person.types("nothing\n")
        person.sees("must be one of hello, parallel, files, endpoint, durable, agent")
        person.types("4\n")
        assert person.leaves() == 0
        assert max(map(len, person.seen.splitlines())) <= 80
    assert (tmp_path / "out").read_text() == "demo\n"
    assert "app: demo.app:app" in (tmp_path / "demo/koco.yaml").read_text()


def test_enter_takes_the_default(tmp_path: Path) -> None:
    """The smallest one."""
    with typist(tmp_path) as person:
        person.types("\n")
        assert person.leaves() == 0
    assert "demo.app:greet" in (tmp_path / "demo/koco.yaml").read_text()


@pytest.mark.parametrize(("key", "says"), [("\x04", "nothing was written"), (CTRL_C, "")])
def test_who_leaves_gets_nothing(tmp_path: Path, key: str, says: str) -> None:
    """Exit 130, as after any question."""
    with typist(tmp_path) as person:
        person.types(key)
        assert person.leaves() == 130
        assert says in person.seen
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("args", [["--template", "hello"], ["--no-input"], ["--json"]])
def test_nobody_is_asked_who_has_said_it_or_reads_json(tmp_path: Path, args: list[str]) -> None:
    """The default is taken."""
    with typist(tmp_path, *args) as person:
        assert person.leaves() == 0
        assert "Which" not in person.seen
    assert (tmp_path / "demo/koco.yaml").exists()


def test_a_script_gets_the_default_and_reads_how_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, `--list` is named, unless the template was."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "demo"]) == 0
    assert "the template 'hello' (`koco init --list` lists others)" in capsys.readouterr().err
    assert run(["init", "other", "-t", "hello"]) == 0
    assert "--list" not in capsys.readouterr().err
