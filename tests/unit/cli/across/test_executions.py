"""`koco ps --contexts` and `koco status --contexts`: several control planes in one answer."""

import csv
import io
import json
import re
import socket

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from koco.errors import NotAllowedError
from tests.support.memory_plane import KEY, Plane
from tests.unit.cli.across.conftest import Two
from tests.unit.conftest import Cli


def at(second: int) -> str:
    return f"2026-01-31T12:00:{second:02}.000000Z"


@pytest.fixture
def mixed(two: Two) -> Two:
    """Executions on both planes, in turns."""
    for plane, name, second in ((two.eu, "aaaa", 1), (two.us, "bbbb", 2), (two.eu, "cccc", 3)):
        plane.launch(fid=name, created=at(second))
    return two


def vanish(name: str) -> None:
    """Have a context name a port at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    context_file.save_context(Context(name, url, KEY), False)


def test_one_list_in_one_order(mixed: Two, cli: Cli) -> None:
    """Newest first over all control planes, each row with its context."""
    ran = cli("ps", "--contexts", "eu,us")
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert header[:2] == ["context", "fid"]
    assert [row[:2] for row in rows] == [["eu", "cccc"], ["us", "bbbb"], ["eu", "aaaa"]]
    assert (ran.code, ran.err) == (0, "")


def test_a_terminal_has_a_column_for_the_context(mixed: Two, terminal: Cli) -> None:
    """It stays, however narrow the terminal is."""
    for columns in ("200", "40"):
        out = terminal("ps", "--contexts", "eu,us", env={"COLUMNS": columns}).out
        lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
        assert [line.split()[:2] for line in lines][:3] == [
            ["CONTEXT", "FID"],
            ["eu", "cccc"],
            ["us", "bbbb"],
        ]
    assert "CONTEXT" not in terminal("ps").out


def test_json_has_the_context_of_each(mixed: Two, cli: Cli) -> None:
    """And the contexts that were asked; `next` is null if that is all."""
    page = json.loads(cli("ps", "--contexts", "us, eu,us", "--json").out)
    assert [(each["context"], each["fid"]) for each in page["items"]] == [
        ("eu", "cccc"),
        ("us", "bbbb"),
        ("eu", "aaaa"),
    ]
    assert page["next"] is None
    assert [(each["context"], each["error"]) for each in page["contexts"]] == [
        ("us", None),
        ("eu", None),
    ]
    assert "context" not in json.loads(cli("ps", "--json").out)["items"][0]


def test_named_columns_and_csv(mixed: Two, cli: Cli) -> None:
    """`context` is one of the columns, and the first one of CSV."""
    out = cli("ps", "--contexts", "eu,us", "--format", "fid,context").out
    assert out == "fid\tcontext\ncccc\teu\nbbbb\tus\naaaa\teu\n"
    rows = [*csv.DictReader(io.StringIO(cli("ps", "--contexts", "eu,us", "--csv").out))]
    assert [row["context"] for row in rows] == ["eu", "us", "eu"]


def test_the_limit_is_for_all_together(mixed: Two, cli: Cli) -> None:
    """`next` is then the time that `--until` takes to go on."""
    ran = cli("ps", "--contexts", "eu,us", "--limit", "2", "--json")
    page = json.loads(ran.out)
    assert [each["fid"] for each in page["items"]] == ["cccc", "bbbb"]
    assert page["next"] == at(2)
    assert "there are more" in cli("ps", "--contexts", "eu,us", "--limit", "2").err
    assert cli("ps", "--contexts", "eu,us", "--limit", "3").err == ""
    # As many as are asked for, and more on one of them alone.
    mixed.us.launch(fid="dddd", created=at(4))
    assert json.loads(cli("ps", "--contexts", "us", "--limit", "1", "--json").out)["next"] == at(4)


def test_one_that_is_away_is_told_and_the_others_are_shown(mixed: Two, cli: Cli) -> None:
    """Exit code 3, at once, even if it has answered before."""
    cli("ps", "--contexts", "eu,us")
    vanish("us")
    ran = cli("ps", "--contexts", "eu,us")
    assert [line.split("\t")[:2] for line in ran.out.splitlines()][1:] == [
        ["eu", "cccc"],
        ["eu", "aaaa"],
    ]
    assert ran.code == 3
    assert re.fullmatch(r"error: us: [^\n]*127\.0\.0\.1[^\n]*\nhint: [^\n]+\n", ran.err)
    ran = cli("ps", "--contexts", "eu,us", "--json")
    eu, us = json.loads(ran.out)["contexts"]
    assert (eu["error"], us["error"]["code"]) == (None, "unreachable")
    assert json.loads(ran.err)["error"]["code"] == "unreachable"


def test_failures_of_several_are_one_error(mixed: Two, cli: Cli) -> None:
    """The exit code is theirs; 1 if they have different ones."""
    mixed.eu.refuses = mixed.us.refuses = NotAllowedError("no", hint="ask an admin")
    ran = cli("ps", "--contexts", "eu,us")
    assert ran.code == 6
    assert ran.err == ("error: eu: no\nerror: us: no\nhint: eu: ask an admin; us: ask an admin\n")
    vanish("us")
    ran = cli("ps", "--contexts", "eu,us")
    assert ran.code == 1
    assert ran.out.splitlines()[0].startswith("context\tfid")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("ps", "--contexts", " , "), 2, "--contexts names no context"),
        (("ps", "--contexts", "eu,asia"), 4, "there is no context 'asia'"),
        (("--context", "eu", "ps", "--contexts", "eu,us"), 2, "contradict each other"),
        (("ps", "--contexts", "eu,us", "--watch"), 2, "--watch shows one control plane"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    mixed: Two, cli: Cli, args: tuple[str, ...], code: int, message: str
) -> None:
    """Before anything is asked."""
    ran = cli(*args)
    assert (ran.code, ran.out, mixed.eu.requests) == (code, "", [])
    assert message in ran.err


def test_two_names_of_one_control_plane_are_refused(mixed: Two, cli: Cli) -> None:
    """Its executions would be listed twice, and a deploy would overtake itself."""
    context_file.save_context(Context("europe", f"{mixed.eu.url}/", KEY), False)
    ran = cli("ps", "--contexts", "eu,europe")
    assert ran.code == 2
    assert f"eu and europe are the same control plane, {mixed.eu.url}" in ran.err


def test_the_filters_go_to_all(mixed: Two, cli: Cli) -> None:
    """Also those that ask for ended executions."""
    mixed.us.end("bbbb", "finished")
    assert "bbbb" not in cli("ps", "--contexts", "eu,us").out
    assert "bbbb" in cli("ps", "--contexts", "eu,us", "-a").out
    out = cli("ps", "--contexts", "eu,us", "--status", "finished").out
    assert [line.split("\t")[1] for line in out.splitlines()] == ["fid", "bbbb"]


def test_status_shows_one_after_the_other(two: Two, cli: Cli) -> None:
    """Those that answer; the others are told on stderr."""
    out = cli("status", "--contexts", "eu,us").out
    assert re.findall(r"^context +(\w+)$", out, re.M) == ["eu", "us"]
    assert out.count("control plane") == 2
    vanish("eu")
    ran = cli("status", "--contexts", "eu,us")
    assert (ran.code, re.findall(r"^context +(\w+)$", ran.out, re.M)) == (3, ["us"])
    eu, us = json.loads(cli("status", "--contexts", "eu,us", "--json").out)["items"]
    assert (eu["context"], eu["error"]["code"], "store" in eu) == ("eu", "unreachable", False)
    assert (us["context"], us["error"], "store" in us) == ("us", None, True)


def test_contexts_win_over_the_environment(mixed: Two, cli: Cli, plane: Plane) -> None:
    """As `--context` does: KOCO_URL and KOCO_KEY are another control plane's."""
    ran = cli("ps", "--contexts", "us")
    assert [line.split("\t")[1] for line in ran.out.splitlines()][1:] == ["bbbb"]
    assert plane.requests == []


def test_a_control_plane_cannot_pass_its_executions_off_as_anothers(two: Two, cli: Cli) -> None:
    """Whoever reads the list types `koco --context … cancel FID`."""
    two.eu.launch(fid="aaaa", created=at(1), context="us")
    page = json.loads(cli("ps", "--contexts", "eu,us", "--json").out)
    assert [(each["context"], each["fid"]) for each in page["items"]] == [("eu", "aaaa")]
    two.eu.violations.clear()  # an honest one has no such member
