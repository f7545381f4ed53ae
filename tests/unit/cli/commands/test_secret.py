"""`koco secret`: values go to the control plane, and are shown nowhere."""

from pathlib import Path

import pytest

from tests.support.memory_plane import Plane
from tests.support.typist import CTRL_C, Typist
from tests.unit.conftest import Cli

VALUE = "sesame-open"


@pytest.mark.parametrize("args", [(), ("-",)], ids=["pipe", "dash"])
def test_a_value_comes_from_stdin(plane: Plane, cli: Cli, args: tuple[str, ...]) -> None:
    """One newline at its end is removed; other white space is kept."""
    ran = cli("secret", "set", "TOKEN", *args, stdin=f" {VALUE}\n\n")
    assert (ran.code, ran.out) == (0, "TOKEN  set\n")
    assert plane.secrets == {"TOKEN": f" {VALUE}\n"}
    assert VALUE not in ran.out + ran.err


def test_a_value_comes_from_a_file(plane: Plane, cli: Cli, tmp_path: Path) -> None:
    """Of several lines, too."""
    (tmp_path / "key.pem").write_bytes(b"one\r\ntwo\r\n")
    assert cli("secret", "set", "KEY", "--file", "key.pem").code == 0
    assert plane.secrets == {"KEY": "one\r\ntwo"}


def test_names_the_services_that_get_a_new_value(plane: Plane, cli: Cli) -> None:
    """And that a short one is not masked."""
    plane.secrets["TOKEN"] = "old"
    ran = cli("secret", "set", "TOKEN", "-", stdin="1234")
    assert ran.out == "TOKEN  replaced\n"
    assert "not masked" in ran.err
    assert ran.err.endswith("these services get processes with the new value: hello\n")


def test_a_value_in_the_command_line_is_refused_and_not_repeated(plane: Plane, cli: Cli) -> None:
    """Others see it in the list of processes, and in the log of the CI job."""
    ran = cli("secret", "set", "TOKEN", VALUE)
    assert ran.code == 2
    assert VALUE not in ran.err
    assert "`koco secret set TOKEN -`" in ran.err
    assert plane.requests == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--file", "missing"), "missing cannot be read"),
        (("--file", "large"), "more than 64 kB"),
        (("--file", "binary"), "not UTF-8"),
        (("-", "--file", "large"), "exclude each other"),
    ],
)
def test_refuses_invalid_values(
    plane: Plane, cli: Cli, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    """Before anything is sent."""
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    ran = cli("secret", "set", "TOKEN", *args)
    assert ran.code == 2
    assert said in ran.err
    assert plane.secrets == {}


def test_a_typed_value_is_not_shown(plane: Plane) -> None:
    """A terminal asks for it; Ctrl-C changes nothing."""
    args = ["-m", "koco", "secret", "set", "TOKEN"]
    with Typist(args) as typist:
        typist.types(f"{VALUE}\r")
        assert typist.leaves() == 0
        assert VALUE not in typist.seen
    assert plane.secrets == {"TOKEN": VALUE}
    with Typist(args) as typist:
        typist.types(CTRL_C)
        assert typist.leaves() == 130
    assert plane.secrets == {"TOKEN": VALUE}


def test_they_are_listed_by_name(plane: Plane, cli: Cli) -> None:
    """For scripts with tabs, or as JSON."""
    assert cli("secret", "list").out.splitlines() == ["name\tupdated\tby\tservices"]
    plane.secrets["TOKEN"] = VALUE
    listed, as_json = cli("secret", "list"), cli("secret", "list", "--json")
    assert listed.out.splitlines()[1].startswith("TOKEN\t2026-")
    assert '"name": "TOKEN"' in as_json.out
    assert VALUE not in listed.out + as_json.out


def test_one_is_forgotten(plane: Plane, cli: Cli) -> None:
    """A missing file is reported: exit code 4."""
    plane.secrets["TOKEN"] = VALUE
    assert cli("secret", "unset", "TOKEN").out == "TOKEN  unset\n"
    assert cli("secret", "unset", "TOKEN").code == 4
