"""`koco key`: secrets go to stdout once, and into the context whose key was rotated."""

from typing import Any

import pytest

from koco.client import context_file
from koco.client.context_file import Context
from tests.support.memory_plane import KEY, Plane
from tests.unit.conftest import Cli


def asked(plane: Plane, part: str) -> Any:
    """Return the body of the last request whose path has a part."""
    return next(data for _, path, data in reversed(plane.requests) if part in path)


def test_prints_only_the_new_key_on_stdout(plane: Plane, cli: Cli) -> None:
    """So that `KEY=$(koco key create …)` works; the scopes go to stderr."""
    args = ("--scope", "read,launch", "--scope", "deploy", "--flow", "hymn/*", "--expires", "30d")
    ran = cli("key", "create", "ci", *args)
    assert (ran.code, ran.out) == (0, f"{'koco_ci-1'.ljust(48, 'x')}\n")
    assert "shown only once" in ran.err
    assert "koco_" not in ran.err
    assert asked(plane, "/keys") == {
        "name": "ci",
        "scopes": ["read", "launch", "deploy"],
        "flows": ["hymn/*"],
        "all_executions": False,
        "expires_s": 30 * 86_400,
    }


def test_by_default_a_key_launches_and_does_not_expire(plane: Plane, cli: Cli) -> None:
    """Whoever wants more says so."""
    made = cli("key", "create", "eve", "--json")
    assert '"secret": "koco_eve-1' in made.out
    body = {"name": "eve", "scopes": ["launch"], "flows": [], "all_executions": False}
    assert asked(plane, "/keys") == body


@pytest.mark.parametrize("kind", ["key", "user"])
def test_says_whose_executions_a_name_takes_over(plane: Plane, cli: Cli, kind: str) -> None:
    """Another person of that name would see what the former one has done."""
    more = () if kind == "key" else ("-",)
    assert "earlier" not in cli(kind, "create", "eve", *more, stdin="correct horse battery").err
    plane.launch(user="mia")
    ran = cli(kind, "create", "mia", *more, stdin="correct horse battery")
    assert ran.code == 0
    assert "it sees the executions of an earlier 'mia'" in ran.err
    assert "earlier" not in ran.out


@pytest.mark.parametrize("time", ["30", "d", "1.5h", "-1d", "3 d", "", "1w"])
def test_refuses_invalid_times(plane: Plane, cli: Cli, time: str) -> None:
    """Before any request."""
    ran = cli("key", "create", "ci", "--expires", time)
    assert ran.code == 2
    assert "30d, 12h" in ran.err
    assert plane.requests == []


def test_they_are_listed_without_secrets(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """For scripts with tabs or as JSON; for people with the scopes of each."""
    plane.key("ci", scopes=["deploy"], flows=["hymn/*"], all_executions=False)
    listed, as_json = cli("key", "list"), cli("key", "list", "--json")
    assert listed.out.splitlines()[1].startswith("ci\tactive\tdeploy\thymn/*\tno\t2026-")
    assert '"name": "ci"' in as_json.out
    assert "koco_" not in listed.out + as_json.out
    shown = terminal("key", "list").out
    assert "hymn/*, own executions" in shown
    assert "never" in shown


def test_one_is_revoked(plane: Plane, cli: Cli) -> None:
    """A missing file is reported: exit code 4."""
    plane.key("ci", scopes=["deploy"], flows=[], all_executions=False)
    assert cli("key", "revoke", "ci").out == "ci  revoked\n"
    assert cli("key", "revoke", "ci").code == 4


def test_rotating_reports_how_long_the_old_secret_is_valid(plane: Plane, cli: Cli) -> None:
    """A day by default; with `0` at once."""
    plane.key("ci", scopes=["deploy"], flows=[], all_executions=False)
    ran = cli("key", "rotate", "ci")
    assert ran.out == f"{'koco_ci-1'.ljust(48, 'x')}\n"
    assert "stays valid until 2999-" in ran.err
    assert asked(plane, "/rotate") == {"grace_s": 86_400}
    ran = cli("key", "rotate", "ci", "--grace", "0", "--expires", "7d")
    assert "is no longer valid" in ran.err
    assert asked(plane, "/rotate") == {"grace_s": 0, "expires_s": 7 * 86_400}


def test_rotating_the_contexts_own_key_updates_the_context(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every context that has it, and no other; the old one lives until that is done."""
    plane.key("admin", scopes=["admin"], flows=[], all_executions=True)
    monkeypatch.delenv("KOCO_URL")
    monkeypatch.delenv("KOCO_KEY")
    for name, key in (("other", "koco_other"), ("again", KEY), ("here", KEY)):
        context_file.save_context(Context(name, plane.url, key))
    ran = cli("key", "rotate", "admin", "--grace", "0")
    assert ran.code == 0
    assert asked(plane, "/rotate") == {"grace_s": 60}
    assert "for 'again', 'here'" in ran.err
    found = {name: context.key for name, context in context_file.load_contexts().items()}
    new = ran.out.strip()
    assert found == {"other": "koco_other", "again": new, "here": new}


def test_does_not_rotate_if_the_new_key_cannot_be_saved(plane: Plane, cli: Cli) -> None:
    """A broken file of contexts is reported before that."""
    plane.key("admin", scopes=["admin"], flows=[], all_executions=True)
    context_file.save_context(Context("here", plane.url, KEY))
    context_file.contexts_path().write_text("contexts = 1\n")
    assert cli("key", "rotate", "admin").code == 2
    assert not any("/rotate" in path for _, path, _ in plane.requests)


def test_notes_that_koco_key_is_the_old_key(plane: Plane, cli: Cli) -> None:
    """Only the user knows where KOCO_KEY is set."""
    plane.key("admin", scopes=["admin"], flows=[], all_executions=True)
    ran = cli("key", "rotate", "admin")
    assert ran.code == 0
    assert "wherever KOCO_KEY is set, it is still the old one" in ran.err
