"""CONTRIBUTING.md names files that exist, and its lists hold for what exists."""

import os
import re
from pathlib import Path

import pytest

from koco.api import app
from koco.cli import main
from koco.control import rpc
from koco.control.settings import Settings
from koco.errors import NoRoomError
from koco.events import schema
from koco.events.model import Kind
from koco.manifest.model import Runner
from koco.store.replies import Replies
from koco.store.store import Store
from tests.support.checkout import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")

#: The first part of the paths that the page names.
_TOP = r"(?:koco|tests|docs|examples|templates|\.ci)"
#: Made by a command, so not in a fresh checkout.
_MADE = {"tests/bench/results/"}


def read(path: str) -> str:
    """Return a file's text."""
    return (ROOT / path).read_text("utf-8")


def section(title: str) -> str:
    """Return the text below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"CONTRIBUTING.md has no section {title!r}"
    return found[1]


def test_every_path_exists() -> None:
    """Files and folders in backticks, and in the blocks of commands."""
    paths = set(re.findall(rf"(?<![\w./])({_TOP}/[\w./-]*)", PAGE))
    paths |= set(re.findall(r"`([\w-]+\.(?:md|toml))`", PAGE))
    assert len(paths) > 50
    assert [path for path in sorted(paths - _MADE) if not (ROOT / path).exists()] == []


def test_every_link_leads_somewhere() -> None:
    """Relative links name files."""
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_exists() -> None:
    """All targets but `help` are on the page, and no others."""
    targets = set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.M)) - {"help"}
    assert set(re.findall(r"^\| `make (\w+)` \|", PAGE, re.M)) == targets
    assert set(re.findall(r"`make (\w+)`", PAGE)) == targets


def test_every_variable_of_the_tests_is_listed() -> None:
    """The table has the variables that tests read to decide how much to test."""
    texts = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    amounts = r'environ\.get\("(KOCO_(?:TEST_\w+|EXAMPLES|KILLS|SEED|LONG|SCALE|STORE|A2A_TCK))"'
    read_there = set(re.findall(amounts, texts))
    assert set(re.findall(r"^\| `(KOCO_\w+)` \|", section("Tests"), re.M)) == read_there


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_in_the_places_listed(name: str) -> None:
    """A module with `command` at the path of its name, and a section of the docs."""
    path = f"koco/cli/commands/{name.replace(' ', '/')}.py"
    assert re.search(r"^def command\(", read(path), re.M)
    assert f"\n## `koco {name}`\n" in read("docs/commands.md")
    assert " " not in name or name.split(maxsplit=1)[0] in main.GROUPS


def test_every_module_of_routes_is_in_the_app() -> None:
    """Each module has `ROUTES`, and the application has the module."""
    names = {module.__name__ for module in app.MODULES if module.ROUTES}
    for path in (ROOT / "koco/api/routes").rglob("[a-z]*.py"):
        assert ".".join(path.relative_to(ROOT).with_suffix("").parts) in names


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_event_is_in_the_places_listed(kind: Kind) -> None:
    """Each has a payload schema and a row in the docs."""
    assert kind in schema.EVENTS
    assert re.search(rf"^\|.*`{kind}`", read("docs/events.md"), re.M)


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_every_setting_is_in_the_docs_and_used(name: str) -> None:
    """Each has a row in the docs, and code outside of its definition reads it."""
    assert f"| `{name}` |" in read("docs/settings.md")
    sources = (p for p in (ROOT / "koco").rglob("*.py") if p.name != "settings.py")
    assert any(f".{name}" in path.read_text("utf-8") for path in sources)


@pytest.mark.parametrize(
    "question", [kind.__name__ for kind in (*rpc.HANDLERS, *rpc.OF_ITS_PROCESS)]
)
def test_every_question_is_asked(question: str) -> None:
    """Code of the SDK or of the runner asks each question."""
    folders = (ROOT / "koco/sdk", ROOT / "koco/runner")
    texts = (path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py"))
    assert any(f"{question}(" in text for text in texts)


EXAMPLES = {
    "Add a command": "koco stack",
    "Add a route": "/v1/executions/{fid}/stack",
    "Add a kind of event": "Kind.LEASE",
    "Add a setting": "stream_stall_s",
    "Add a question of runners": "OpenLock",
    "Add a key of the manifest": "runner.labels",
    "Add an error or an exit code": "NoRoomError",
    "Add a subject to the store": "Replies",
}

#: The word that an example puts into files of its list.
PLACES = [
    ("Add a command", "stack", "koco/cli/catalog.py koco/client/client.py docs/commands.md"),
    ("Add a route", "stacks", "koco/api/app.py"),
    ("Add a route", "Stacks", "koco/api/routes/executions/stacks.py"),
    ("Add a route", "Stacks", "koco/control/executions/stacks.py"),
    ("Add a route", "/v1/executions/{fid}/stack", "docs/api.md"),
    ("Add a kind of event", "LEASE", "koco/events/model.py koco/events/schema.py"),
    (
        "Add a kind of event",
        "LEASE",
        "koco/control/events/batch_checks.py koco/sdk/in_memory/memory.py",
    ),
    ("Add a kind of event", "lease", "koco/cli/terminal/event_view.py docs/events.md"),
    ("Add a setting", "stream_stall_s", "koco/control/settings.py docs/settings.md"),
    ("Add a question of runners", "OpenLock", "koco/events/questions.py koco/control/rpc.py"),
    ("Add a question of runners", "OpenLock", "koco/sdk/locks.py koco/sdk/in_memory/memory.py"),
    ("Add a key of the manifest", "labels", "koco/manifest/model.py docs/manifest.md"),
    ("Add a key of the manifest", "label", "koco/manifest/rules.py"),
    ("Add an error or an exit code", "NoRoomError", "koco/errors.py"),
    ("Add a subject to the store", "Reply", "koco/store/model.py koco/store/replies.py"),
    ("Add a subject to the store", "replies", "koco/store/engine/sqlite/schema.py"),
    ("Add a subject to the store", "replies", "koco/store/store.py"),
]


def test_every_list_has_an_example() -> None:
    """Each heading "Add …" is known here, and its section names its example."""
    assert re.findall(r"^## (Add .+)$", PAGE, re.M) == list(EXAMPLES)
    assert all(example in section(title) for title, example in EXAMPLES.items())


@pytest.mark.parametrize(("title", "word", "places"), PLACES)
def test_the_example_is_in_the_places_listed(title: str, word: str, places: str) -> None:
    """The list names the file, and the file has the example."""
    for place in places.split():
        assert f"`{place}`" in section(title)
        assert word in read(place), place


def test_the_example_of_an_error_is_documented() -> None:
    """By its code, status and exit code."""
    error = NoRoomError
    row = f"| `{error.code}` | {error.http_status} | {error.exit_code} |"
    assert row in read("docs/errors.md")


def test_the_examples_of_a_key_and_of_the_store_exist(tmp_path: Path) -> None:
    """`runner.labels` is a key; the store has a repository of replies."""
    assert "labels" in Runner.model_fields
    assert isinstance(Store.at(tmp_path / "store.db").replies, Replies)


def test_the_programs_in_the_blocks_exist() -> None:
    """Each block's commands start with a program in `.venv/bin`."""
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S):
        programs = re.findall(r"(?:^|&& )(\S+)", block, re.M)
        assert programs and all(os.access(ROOT / each, os.X_OK) for each in programs)
