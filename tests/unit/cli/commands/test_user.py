"""`koco user`, `koco login --user` and `koco logout`: passwords are never shown."""

import json
import re
from collections.abc import Iterator

import pytest

from koco.cli import connection
from koco.client import context_file
from koco.client.context_file import Context
from tests.support import memory_plane as planes
from tests.support.memory_plane import KEY, TOKEN, Plane
from tests.support.typist import CTRL_C, Typist
from tests.unit.conftest import Cli

PASSWORD = "correct horse battery staple"
OTHER = f"{PASSWORD}, too"


@pytest.fixture
def home(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """Talk to the plane by a context `here`, which is an admin's, and not by the environment."""
    for name in ("KOCO_URL", "KOCO_KEY"):
        monkeypatch.delenv(name)
    context_file.save_context(Context("here", plane.url, KEY))
    yield plane
    connection.choose(None)


def saved() -> Context:
    return context_file.load_contexts()["there"]


def log_in(plane: Plane, cli: Cli) -> None:
    plane.passwords["eve"] = PASSWORD
    args = ("--user", "eve", "--name", "there", "--password", "-")
    assert cli("login", plane.url, *args, stdin=PASSWORD).code == 0


# koco user


def test_a_user_is_made_with_a_password_from_stdin(plane: Plane, cli: Cli) -> None:
    """By default they may launch flows; a note shows how to log in."""
    ran = cli("user", "create", "eve", "-", stdin=f"{PASSWORD}\n")
    assert (ran.code, ran.out) == (0, "eve\n")
    assert f"koco login {plane.url} --user eve" in ran.err
    assert plane.passwords == {"eve": PASSWORD}
    assert plane.users["eve"]["scopes"] == ["launch"]
    assert PASSWORD not in ran.out + ran.err


def test_a_user_gets_the_requested_scopes(plane: Plane, cli: Cli) -> None:
    """Scopes with commas or one by one."""
    args = ("--scope", "read,deploy", "--scope", "launch", "--flow", "hello/*", "--all-executions")
    ran = cli("user", "create", "eve", "-", *args, "--json", stdin=PASSWORD)
    user = json.loads(ran.out)
    assert user["scopes"] == ["read", "deploy", "launch"]
    assert (user["flows"], user["all_executions"]) == (["hello/*"], True)
    assert "password" not in user


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        ((PASSWORD,), "", "`koco user create eve -` reads it from stdin"),
        ((), PASSWORD, "nobody to ask"),
        (("-",), "", "no password was given"),
        (("-",), "elevenchars", "at least 12 characters"),
        (("-",), f"{PASSWORD}\n{PASSWORD}\n", "more than one line"),
        (("-",), "x" * 5000, "more than one line"),
    ],
)
def test_refuses_invalid_passwords(
    plane: Plane, cli: Cli, args: tuple[str, ...], stdin: str, said: str
) -> None:
    """Before anything is sent, and without repeating it."""
    ran = cli("user", "create", "eve", *args, stdin=stdin)
    assert ran.code == 2
    assert said in ran.err and PASSWORD not in ran.err
    assert plane.requests == []


def test_a_password_is_typed_twice_and_not_shown(plane: Plane) -> None:
    """Two different passwords are refused; Ctrl-C changes nothing."""
    args = ["-m", "koco", "user", "create", "eve"]
    with Typist(args) as typist:
        typist.types(f"{PASSWORD}\r")
        typist.types(f"{OTHER}\r")
        assert typist.leaves() == 2
        assert "two passwords" in typist.seen
    with Typist(args) as typist:
        typist.types(CTRL_C)
        assert typist.leaves() == 130
    assert plane.users == {}
    with Typist(args) as typist:
        typist.types(f"{PASSWORD}\r")
        typist.types(f"{PASSWORD}\r")
        assert typist.leaves() == 0
        assert PASSWORD not in typist.seen
    assert plane.passwords == {"eve": PASSWORD}


def test_users_are_listed_and_removed(plane: Plane, cli: Cli) -> None:
    """For scripts with tabs, or as JSON; exit code 4 for one that is not there."""
    assert cli("user", "list").out.startswith("name\tscopes\t")
    cli("user", "create", "eve", "-", "--flow", "a/*", "--flow", "b/c", stdin=PASSWORD)
    [_, row] = cli("user", "list").out.splitlines()
    assert row == "eve\tlaunch\ta/*,b/c\tno\t2026-01-31T12:00:00.123456Z\tadmin\t\t\tyes\t"
    assert json.loads(cli("user", "list", "--json").out)["items"][0]["name"] == "eve"
    assert cli("user", "remove", "eve").out == "eve  removed\n"
    assert cli("user", "remove", "eve").code == 4


def test_users_are_listed_for_people(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """At a terminal, in 80 columns."""
    cli("user", "create", "eve", "-", stdin=PASSWORD)
    ran = terminal("user", "list")
    assert "all, own executions" in ran.out and "never" in ran.out
    assert max(len(re.sub(r"\x1b\[\d*m", "", each)) for each in ran.out.splitlines()) <= 80


def test_users_are_disabled_and_enabled(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """With a note about the keys that they have created, which stay valid."""
    cli("user", "create", "eve", "-", stdin=PASSWORD)
    plane.key("ci", scopes=["read"], flows=[], all_executions=False)["by"] = "eve"
    ran = cli("user", "disable", "eve")
    assert (ran.code, ran.out) == (0, "eve  disabled\n")
    assert "stay valid: ci;" in ran.err
    assert "disabled" in terminal("user", "list").out
    assert cli("user", "enable", "eve").out == "eve  enabled\n"
    assert plane.users["eve"]["active"] is True
    assert "STATUS" not in terminal("user", "list").out
    assert cli("user", "disable", "nobody").code == 4


def test_rights_and_address_are_changed(plane: Plane, cli: Cli) -> None:
    """Only those that are given."""
    cli("user", "create", "eve", "-", "--email", "eve@example.com", stdin=PASSWORD)
    ran = cli("user", "update", "eve", "--scope", "read,deploy", "--flow", "a/*")
    assert (ran.code, ran.out) == (0, "eve  read, deploy; flows: a/*, own executions\n")
    assert plane.users["eve"]["email"] == "eve@example.com"
    cli("user", "update", "eve", "--all-flows", "--all-executions", "--email", "")
    assert (plane.users["eve"]["flows"], plane.users["eve"]["email"]) == ([], "")
    for wrong in ((), ("--all-flows", "--flow", "a/*")):
        assert cli("user", "update", "eve", *wrong).code == 2


def test_an_admin_sets_a_password(plane: Plane, cli: Cli) -> None:
    """Without knowing the old one."""
    plane.passwords["eve"] = PASSWORD
    ran = cli("user", "password", "eve", "-", stdin=OTHER)
    assert (ran.code, ran.out) == (0, "eve  password set\n")
    assert plane.passwords == {"eve": OTHER}


def test_users_change_their_own_password(home: Plane, cli: Cli) -> None:
    """At a terminal, knowing the old one; then they log in again."""
    log_in(home, cli)
    ran = cli("--context", "there", "user", "password", "eve", "-", stdin=OTHER)
    assert ran.code == 2
    assert "at a terminal" in ran.err
    with Typist(["-m", "koco", "--context", "there", "user", "password", "eve"]) as typist:
        for each in (PASSWORD, OTHER, OTHER):
            typist.types(f"{each}\r")
        assert typist.leaves() == 0
    assert f"koco login {home.url} --user eve" in typist.seen
    assert home.passwords == {"eve": OTHER}


# koco login --user


def test_a_login_keeps_the_session_and_not_the_password(home: Plane, cli: Cli) -> None:
    """In the key's place; the file belongs to its owner alone."""
    home.passwords["eve"] = PASSWORD
    args = ("--user", "eve", "--name", "there", "--password", "-")
    ran = cli("login", home.url, *args, stdin=f"{PASSWORD}\n")
    assert (ran.code, ran.out) == (0, "there\n")
    assert "eve until 2999-" in ran.err
    assert (saved().key, saved().user) == (TOKEN, "eve")
    assert PASSWORD not in context_file.contexts_path().read_text()
    assert TOKEN not in ran.out + ran.err
    assert cli("status").code == 0


def test_a_login_as_json_has_the_expiry(home: Plane, cli: Cli) -> None:
    """The token is masked, as keys are."""
    home.passwords["eve"] = PASSWORD
    args = ("--user", "eve", "--name", "there", "--password", "-", "--json")
    ran = cli("login", home.url, *args, stdin=PASSWORD)
    told = json.loads(ran.out)
    assert (told["name"], told["user"], told["expires"]) == ("there", "eve", planes.LATER)
    assert TOKEN not in ran.out


def test_a_password_is_typed_unseen(home: Plane) -> None:
    """Once."""
    home.passwords["eve"] = PASSWORD
    args = ["-m", "koco", "login", home.url, "--user", "eve", "--name", "there"]
    with Typist(args) as typist:
        typist.types(f"{PASSWORD}\r")
        assert typist.leaves() == 0
        assert PASSWORD not in typist.seen
    assert saved().key == TOKEN


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--user", "eve", "--password", "-"), 6, "nothing was saved"),
        (("--user", "eve", "--password", PASSWORD), 2, "`--password -` reads it from stdin"),
        (("--user", "eve"), 2, "nobody to ask"),
        (("--user", "eve", "--key", "-"), 2, "exclude each other"),
        (("--user", "eve", "--no-check"), 2, "always checked"),
        (("--password", "-"), 2, "`--password` needs `--user NAME`"),
    ],
)
def test_a_login_that_fails_saves_nothing(
    home: Plane, cli: Cli, args: tuple[str, ...], code: int, said: str
) -> None:
    """The value is not shown."""
    ran = cli("login", home.url, "--name", "there", *args, stdin=OTHER)
    assert ran.code == code
    assert said in ran.err
    assert PASSWORD not in ran.err and OTHER not in ran.err
    assert "KOCO_KEY" not in ran.err  # it would be no help here
    assert list(context_file.load_contexts()) == ["here"]


def test_an_expired_session_shows_how_to_log_in_again(home: Plane, cli: Cli) -> None:
    """Exit code 6, and the command, which is whole."""
    log_in(home, cli)
    home.logged_in = ""
    ran = cli("status")
    assert ran.code == 6
    assert f"log in again: `koco login {home.url} --user eve --name there`" in ran.err
    log_in(home, cli)
    assert cli("status").code == 0


# koco logout


def test_logging_out_ends_the_session_and_forgets_it(home: Plane, cli: Cli) -> None:
    """The context stays, and says how to log in again."""
    log_in(home, cli)
    ran = cli("logout")
    assert (ran.code, ran.out) == (0, "there\n")
    assert home.logged_in == ""
    assert (saved().key, saved().user) == ("", "eve")
    assert TOKEN not in context_file.contexts_path().read_text()
    after = cli("status")
    assert after.code == 6
    assert "koco login" in after.err and "--user eve" in after.err
    assert cli("logout").code == 2


def test_logout_forgets_an_expired_session(home: Plane, cli: Cli) -> None:
    """As requested."""
    log_in(home, cli)
    home.logged_in = ""
    ran = cli("logout")
    assert ran.code == 0
    assert "already ended" in ran.err
    assert saved().key == ""


def test_logout_refuses_a_key(home: Plane, cli: Cli) -> None:
    """It is left as it is: others may use it."""
    ran = cli("logout")
    assert ran.code == 2
    assert "has a key, not a session" in ran.err
    assert context_file.load_contexts()["here"].key == KEY


def test_a_session_of_the_environment_is_ended(
    home: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no context changed."""
    log_in(home, cli)
    before = context_file.contexts_path().read_text()
    monkeypatch.setenv("KOCO_URL", home.url)
    monkeypatch.setenv("KOCO_KEY", TOKEN)
    assert json.loads(cli("logout", "--json").out) == {"name": "KOCO_URL", "user": None}
    assert home.logged_in == ""
    assert context_file.contexts_path().read_text() == before


def test_tokens_are_masked_in_errors(plane: Plane, cli: Cli) -> None:
    """Like keys that were typed in the wrong place."""
    ran = cli(f"{TOKEN}")
    assert ran.code == 2
    assert TOKEN not in ran.err and "kocos_012" in ran.err
