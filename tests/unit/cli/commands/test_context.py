"""`koco context` and `koco login`: the selected control plane, and keys that are never shown."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco import errors
from koco.cli import connection, main
from koco.client import context_file, url
from koco.client.context_file import Context
from tests.support import memory_plane as planes
from tests.support.checkout import ROOT
from tests.support.http_server import QuietServer
from tests.support.memory_plane import Plane
from tests.support.typist import CTRL_C, Typist
from tests.unit.cli.test_startup import HEAVY, loaded
from tests.unit.conftest import Cli

#: As long as those that koco makes.
KEY = f"koco_{'0123456789' * 4}abc"
MASKED = "koco_0123…"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    connection.choose(None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """Serve a plane that knows KEY, and that nothing names yet."""
    monkeypatch.setattr(planes, "KEY", KEY)
    with planes.serving() as plane:
        yield plane


def save(*names: str) -> None:
    """Save contexts; the first is the current one."""
    for name in names:
        context_file.save_context(Context(name, f"https://{name}.test", KEY), name == names[0])


def refused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def answering(code: int, body: bytes) -> Iterator[str]:
    """Serve the same answer to everything; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Precedence: who says what is over whom. Each row takes away what decided in the row above.
FLAG, URL, NAME, PROJECT, FILE = "--context", "KOCO_URL", "KOCO_CONTEXT", "koco.toml", "file"


@pytest.mark.parametrize(
    ("given", "name", "by", "key"),
    [
        ({FLAG, URL, NAME, PROJECT, FILE}, "inflag", "--context", "file"),
        ({FLAG}, "inflag", "--context", "file"),
        ({URL, NAME, PROJECT, FILE}, "KOCO_URL", "KOCO_URL", "KOCO_KEY"),
        ({URL}, "KOCO_URL", "KOCO_URL", "KOCO_KEY"),
        ({NAME, PROJECT, FILE}, "inenv", "KOCO_CONTEXT", "KOCO_KEY"),
        ({NAME}, "inenv", "KOCO_CONTEXT", "KOCO_KEY"),
        ({PROJECT, FILE}, "inproject", "koco.toml", "KOCO_KEY"),
        ({FILE}, "infile", "contexts.toml", "KOCO_KEY"),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else None,
)
@pytest.mark.parametrize("with_key", [True, False])
def test_the_first_source_that_is_set_selects_the_context(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    given: set[str],
    name: str,
    by: str,
    key: str,
    with_key: bool,
) -> None:
    """The table of docs/commands.md, line by line; KOCO_KEY alone replaces the key but --context's.

    `show` and `list` say the same.
    """
    for each in ("infile", "inproject", "inenv", "inflag"):
        context = Context(each, f"https://{each}.test", KEY)
        context_file.save_context(context, FILE in given and each == "infile")
    if PROJECT in given:
        Path("koco.toml").write_text('[deploy]\ncontext = "inproject"\n')
    monkeypatch.setenv("KOCO_CONTEXT", "inenv" if NAME in given else "")
    monkeypatch.setenv("KOCO_URL", "https://env.test/" if URL in given else "")
    monkeypatch.setenv("KOCO_KEY", f"other{'x' * 40}" if with_key else "")
    flag = ["--context", "inflag"] if FLAG in given else []

    shown = json.loads(cli(*flag, "context", "show", "--json").out)
    own = None if by == "KOCO_URL" else MASKED
    assert shown == {
        "name": name,
        "url": "https://env.test" if by == "KOCO_URL" else f"https://{name}.test",
        "key": "otherxxxx…" if with_key and key == "KOCO_KEY" else own,
        "current": True,
        "chosen_by": by,
    }
    items = json.loads(cli(*flag, "context", "list", "--json").out)["items"]
    assert [(each["name"], each["chosen_by"]) for each in items if each["current"]] == [(name, by)]


def test_the_docs_have_the_same_table() -> None:
    """In the same order."""
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    rows = re.findall(r"^\| [1-7] \| (.*?) \|", text, re.M)
    assert len(rows) == 7
    words = ("--context", "KOCO_URL", "--env", "KOCO_CONTEXT", "KOCO_ENV")
    words += ("koco.toml", "contexts.toml")
    assert all(word in row for row, word in zip(rows, words, strict=True))


def test_list_marks_the_current_one(cli: Cli) -> None:
    """Tab-separated in a pipe, with only the starts of keys."""
    save("b", "a")
    ran = cli("context", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "current\tname\turl\tkey\tchosen_by",
        f"*\tb\thttps://b.test\t{MASKED}\tcontexts.toml",
        f"\ta\thttps://a.test\t{MASKED}\t",
    ]


def test_list_fits_a_terminal(terminal: Cli) -> None:
    """Only a long URL is shortened; the source, the name and the key are not."""
    context_file.save_context(
        Context("production-eu", f"https://{'koco.' * 20}example.com/koco", KEY)
    )
    ran = terminal("context", "list", env={"NO_COLOR": "1"})
    lines = re.sub(r"\x1b\[\d*m", "", ran.out).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert re.fullmatch(rf"\*  production-eu  https://\S*…  {MASKED}  contexts\.toml *", lines[1])


def test_an_empty_list_shows_how_to_begin(cli: Cli) -> None:
    """It is not an error, and JSON is the empty list."""
    ran = cli("context", "list")
    assert ran.code == 0
    assert "koco login URL" in ran.err
    assert json.loads(cli("context", "list", "--json").out) == {"items": [], "next": None}


def test_list_works_if_the_selected_context_is_unknown(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users run it to find the mistake."""
    save("a")
    monkeypatch.setenv("KOCO_CONTEXT", "gone")
    ran = cli("context", "list")
    assert (ran.code, "*" in ran.out) == (0, False)
    assert ran.err == "KOCO_CONTEXT selects 'gone', which does not exist\n"
    assert cli("context", "show").code == 4


def test_use_changes_the_current_one(cli: Cli) -> None:
    """And nothing else; a name that is not known is exit code 4, with those that are."""
    save("a", "b")
    ran = cli("context", "use", "b")
    assert (ran.code, ran.out, ran.err) == (0, "b\n", "")
    assert context_file.current().name == "b"
    ran = cli("context", "use", "c")
    assert ran.code == 4
    assert "contexts: a, b" in ran.err
    assert context_file.current().name == "b"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("KOCO_URL", "http://x.test", "KOCO_URL is set"),
        ("KOCO_CONTEXT", "a", "the current context is 'a', selected by KOCO_CONTEXT"),
        ("KOCO_KEY", "k", "KOCO_KEY is set"),
    ],
)
def test_use_notes_what_overrides_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    """The file is still changed, because other shells have other environments."""
    save("a", "b")
    monkeypatch.setenv(variable, value)
    ran = cli("context", "use", "b")
    assert (ran.code, ran.out) == (0, "b\n")
    assert says in ran.err
    assert context_file.find("b").name == "b"
    monkeypatch.delenv(variable)
    assert context_file.current().name == "b"


def test_a_broken_project_stops_use_before_it_does_anything(cli: Cli) -> None:
    """An exit code of 2 means that nothing was done."""
    save("a", "b")
    Path("koco.toml").write_text("= no TOML")
    assert cli("context", "use", "b").code == 2
    Path("koco.toml").unlink()
    assert context_file.current().name == "a"


def test_add_asks_nothing_in_a_script(cli: Cli) -> None:
    """Nor the control plane; the first one is current, a second one is not."""
    ran = cli("context", "add", "a", "HTTPS://A.test/koco//")
    assert (ran.code, ran.out) == (0, "a\n")
    assert "KOCO_KEY" in ran.err
    assert context_file.current() == Context("a", "https://a.test/koco", "")
    ran = cli("context", "add", "b", "http://[::1]:8400", "--key", "-", stdin=f"{KEY}\n")
    assert (ran.code, ran.out) == (0, "b\n")
    assert ran.err == "the current context is still 'a': `koco context use b` changes that\n"
    assert context_file.find("b") == Context("b", "http://[::1]:8400", KEY)
    assert context_file.current().name == "a"


def test_add_refuses_an_existing_name(cli: Cli) -> None:
    """Its key would be lost; `--force` replaces it, and keeps the current one."""
    save("a", "b")
    ran = cli("context", "add", "b", "https://new.test")
    assert (ran.code, ran.out) == (2, "")
    assert "https://b.test" in ran.err
    assert "--force" in ran.err
    assert context_file.find("b").key == KEY
    assert cli("context", "add", "b", "https://new.test", "--force").code == 0
    assert context_file.find("b") == Context("b", "https://new.test", "")
    assert context_file.current().name == "a"


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\x1b", "https://x", "a" * 254, "local"])
def test_refuses_invalid_names(cli: Cli, name: str) -> None:
    """`local` is `koco up`'s, whose admin key would be lost."""
    ran = cli("context", "add", "--", name, "https://x.test")
    assert ran.code == 2
    assert context_file.load_contexts() == {}


def test_remove_reports_the_new_current_context(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked; an unknown context is exit code 4."""
    save("a", "b", "c")
    ran = cli("context", "remove", "b")
    assert (ran.code, ran.out, ran.err) == (0, "b\n", "")
    ran = cli("context", "remove", "a")
    assert ran.err == "no context is current now: `koco context use NAME` selects one\n"
    assert list(context_file.load_contexts()) == ["c"]
    assert cli("context", "remove", "a").code == 4
    monkeypatch.setenv("KOCO_CONTEXT", "c")
    ran = cli("context", "remove", "c", "--json")
    assert json.loads(ran.out) == {"removed": "c", "current": "c", "chosen_by": "KOCO_CONTEXT"}


def test_removing_local_is_refused_while_its_cluster_runs(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the only admin key. After `koco down`, or by force, a note says that it is lost."""
    with socket.create_server(("127.0.0.1", 0)) as ray:
        address = f"127.0.0.1:{ray.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        local = Context("local", "http://127.0.0.1:8400", KEY, {"address": address})
        context_file.save_context(local)
        ran = cli("context", "remove", "local")
        assert (ran.code, ran.out) == (2, "")
        assert "hint: `koco down` stops it; `--force` removes" in ran.err
        assert context_file.find("local") == local
        assert "--recover-admin" in cli("context", "remove", "local", "--force").err
        context_file.save_context(local)
    ran = cli("context", "remove", "local")
    assert ran.code == 0
    assert "--recover-admin" in ran.err
    assert context_file.load_contexts() == {}


def test_login_saves_the_checked_key(cli: Cli, server: Plane, home: Path) -> None:
    """Under the host's name, as the current one, for this user alone."""
    save("a")
    ran = cli("login", f"{server.url}/", "--key", "-", stdin=f"{KEY}\n")
    assert (ran.code, ran.out) == (0, "127.0.0.1\n")
    assert ran.err == f"{server.url}: koco 0.1.0 answers; the key {MASKED} is saved\n"
    assert [path for _, path, _ in server.requests] == ["/v1/status"]
    assert context_file.current() == Context("127.0.0.1", server.url, KEY)
    assert (home / "contexts.toml").stat().st_mode & 0o777 == 0o600
    assert cli("ps").code == 0


def test_login_replaces_the_key_but_not_another_plane(cli: Cli, server: Plane) -> None:
    """Two ports of a host are two planes: the second needs a name of its own."""
    arguments = ("login", server.url, "--key", "-")
    context_file.save_context(Context("127.0.0.1", server.url, "koco_old"))
    assert cli(*arguments, stdin=KEY).code == 0
    assert context_file.current().key == KEY
    other = Context("127.0.0.1", "http://127.0.0.1:1", "koco_old")
    context_file.save_context(other)
    ran = cli(*arguments, stdin=KEY)
    assert ran.code == 2
    assert "--name" in ran.err
    assert context_file.current() == other
    shown = json.loads(cli(*arguments, "--name", "two", "--json", stdin=KEY).out)
    assert (shown["name"], shown["key"], shown["version"]) == ("two", MASKED, "0.1.0")
    assert context_file.find("127.0.0.1") == other
    assert cli(*arguments, "--name", "127.0.0.1", stdin=KEY).code == 0


def test_a_key_that_is_refused_is_not_saved(cli: Cli, server: Plane) -> None:
    """401 and 403 are exit code 6; the context that was there stays current."""
    save("a")
    ran = cli("login", server.url, "--key", "-", stdin=KEY.upper())
    assert (ran.code, ran.out) == (6, "")
    assert "hint: nothing was saved; is it the complete key of this control plane?" in ran.err
    server.refuses = errors.NotAllowedError("the key 'ci' has no scope 'read'")
    ran = cli("login", server.url, "--key", "-", "--json", stdin=KEY)
    assert ran.code == 6
    error = json.loads(ran.err)["error"]
    assert error["code"] == "not_allowed"
    assert "`--no-check`" in error["hint"]
    assert list(context_file.load_contexts()) == ["a"]
    assert context_file.current().name == "a"


def test_a_plane_that_does_not_answer_is_not_saved(cli: Cli) -> None:
    """Exit code 3; `--no-check` saves it anyway, without a request."""
    address = refused_url()
    ran = cli("login", address, "--key", "-", stdin=KEY)
    assert (ran.code, ran.out) == (3, "")
    assert "`--no-check` saves it anyway" in ran.err
    assert context_file.load_contexts() == {}
    ran = cli("login", address, "--key", "-", "--no-check", "--json", stdin=KEY)
    assert (ran.code, json.loads(ran.out)["version"]) == (0, None)
    assert context_file.current() == Context("127.0.0.1", address, KEY)


@pytest.mark.parametrize("key", ["ké", "a\nb"])
def test_names_the_source_of_an_invalid_key(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Nobody has made a context that is called KOCO_URL."""
    monkeypatch.setenv("KOCO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KOCO_KEY", key)
    ran = cli("ps")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: KOCO_KEY has characters that no key has\n")


@pytest.mark.parametrize("command", ["ps", "logs", "show fid", "status", "flows", "wait fid"])
def test_a_404_of_another_server_is_not_a_missing_execution(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Exit code 4 would say that a control plane has looked."""
    with answering(404, b"<html>No</html>") as address:
        monkeypatch.setenv("KOCO_URL", address)
        monkeypatch.setenv("KOCO_KEY", KEY)
        ran = cli(*command.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"error: {address} answers 404, but not as a control plane does\n"
        "hint: does that URL belong to something else?\n"
    )


@pytest.mark.parametrize("path", ["/v1", "/docs/"])
def test_suggests_the_control_planes_url_without_the_path(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """As copied from an example of the API, or from a browser."""
    path = path.rstrip("/")
    told = errors.NotFoundError(f"there is nothing at {path}/v1/executions").to_wire()
    with answering(404, json.dumps(told).encode()) as address:
        monkeypatch.setenv("KOCO_URL", f"{address}{path}/")
        ran = cli("ps")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"error: a control plane answers at {address}, but not at {path}\n"
        f"hint: is its URL {address}?\n"
    )


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, b"<html>Welcome</html>"),
        (200, b'{"control_plane": "mine"}'),
        (200, b"[]"),
        (404, b"<html>No</html>"),
        (302, b""),
    ],
)
def test_a_server_that_is_not_a_control_plane_is_not_saved(
    cli: Cli, code: int, body: bytes
) -> None:
    """A web page, or somebody else's API."""
    with answering(code, body) as address:
        ran = cli("login", address, "--key", "-", stdin=KEY)
    assert (ran.code, ran.out) == (3, "")
    assert address in ran.err
    assert "hint: nothing was saved; does that URL belong to something else?" in ran.err
    assert context_file.load_contexts() == {}


@pytest.mark.parametrize(
    "address",
    ["http://koco.test", "http://10.0.0.3:8400", "http://127.evil.test", "http://[fd::1]"],
)
def test_a_key_in_clear_is_warned_of(cli: Cli, address: str) -> None:
    """Over plain HTTP to another machine; it is the user who decides."""
    ran = cli("login", address, "--key", "-", "--no-check", stdin=KEY)
    assert ran.code == 0
    assert ran.err.startswith(f"warning: {address} is not encrypted: the key travels in clear")


@pytest.mark.parametrize(
    "address", ["https://koco.test", "http://127.0.0.2:1", "http://localhost:1", "http://[::1]:1"]
)
def test_nothing_is_warned_of_on_loopback_or_encrypted(cli: Cli, address: str) -> None:
    """A warning that is always there is not read."""
    assert "warning" not in cli("login", address, "--key", "-", "--no-check", stdin=KEY).err


@pytest.mark.parametrize(
    ("address", "shown", "hint"),
    [
        ("http://ada:s3cret@x.test", "http://…@x.test", "without a name and password"),
        ("http://ada:s3c/r@t?s3cret@x.test/a", "http://…@x.test/a", "without a name and password"),
        ("ada:s3cret@x.test", "…@x.test", "without a name and password"),
        (
            "http://x.test/a?token=s3cret",
            "http://x.test/a?…",
            "without the part that begins with ?",
        ),
        ("http://x.test/#s3cret", "http://x.test/?…", "without the part that begins with ?"),
        ("koco.test/a", "koco.test/a", "with its scheme, as in https://koco.test/a"),
        ("ftp://x.test", "ftp://x.test", "such as http"),
    ],
)
def test_a_url_is_refused_without_showing_its_password(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, address: str, shown: str, hint: str
) -> None:
    """Wherever it comes from."""
    ran = cli("login", address, "--key", "-", stdin=KEY)
    assert (ran.code, context_file.load_contexts()) == (2, {})
    assert ran.err.splitlines()[0].endswith(f": {shown!r}")
    assert f"hint: {hint}" in ran.err
    monkeypatch.setenv("KOCO_URL", address)
    again = cli("context", "show")
    assert again.code == 2
    assert shown in again.err
    assert "s3c" not in ran.err + again.err


@pytest.mark.parametrize(
    "args",
    [
        ("login", "https://x.test", KEY),
        ("login", "https://x.test", "--key", KEY),
        ("login", KEY),
        ("context", "use", KEY),
        ("context", "add", "x", KEY, "--json"),
        ("context", "add", KEY, "https://x.test", KEY),
    ],
)
def test_masks_a_key_in_the_wrong_place(cli: Cli, args: tuple[str, ...]) -> None:
    """The error is in CI's log; it names the start of the key at most."""
    ran = cli(*args)
    assert ran.code in (2, 4)
    assert KEY not in ran.out + ran.err


@pytest.mark.parametrize("stdin", ["", "\n", "koco_a b", "# key\nkoco_a", "k\xe9y", "x" * 5000])
def test_refuses_invalid_keys(cli: Cli, stdin: str) -> None:
    """Before it is sent anywhere, and without showing it."""
    ran = cli("login", "https://x.test", "--key", "-", "--no-check", stdin=stdin)
    assert (ran.code, context_file.load_contexts()) == (2, {})
    assert " key" in ran.err
    assert "koco_a" not in ran.err


def test_refuses_a_key_as_an_argument(cli: Cli) -> None:
    """Not even if it is valid, because the process list and the history have it."""
    for command in (("login", "https://x.test"), ("context", "add", "a", "https://x.test")):
        ran = cli(*command, "--key", KEY)
        assert (ran.code, context_file.load_contexts()) == (2, {})
        assert ran.err.startswith("error: a key in a command line can be seen by others\n")


def test_a_closed_stdin_has_no_key() -> None:
    """This is not a bug in koco."""
    line = f"exec {sys.executable} -m koco login https://x.test --key - <&-"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: there is nobody to ask for the key\n")


def test_without_a_terminal_login_shows_how_to_give_the_key(cli: Cli) -> None:
    """It does not wait for a person who is not there."""
    ran = cli("login", "https://x.test")
    assert ran.code == 2
    assert "--key -" in ran.err


@pytest.mark.parametrize("named", [(), ("--context", "a")])
def test_show_can_ask_whether_it_answers(cli: Cli, server: Plane, named: tuple[str, ...]) -> None:
    """With the version, or the exit code of the problem."""
    context_file.save_context(Context("a", server.url, KEY))
    ran = cli(*named, "context", "show", "--check")
    assert ran.code == 0
    current = "--context" if named else f"`current` in {context_file.contexts_path()}"
    assert ran.out.splitlines() == [
        "context        a",
        f"url            {server.url}",
        f"key            {MASKED}",
        f"current        {current}",
        "control plane  0.1.0",
    ]
    assert not server.requests[1:]
    assert cli("context", "show").code == 0
    assert not server.requests[1:]
    context_file.save_context(Context("b", server.url, "koco_wrong"))
    assert cli("context", "show", "b", "--check").code == 6
    context_file.save_context(Context("c", refused_url(), KEY))
    assert cli("context", "show", "c", "--check", "--json").code == 3
    assert cli("context", "show", "nope").code == 4


def test_show_without_any_context_is_unreachable(cli: Cli) -> None:
    """As any command is that needs one: exit code 3."""
    ran = cli("context", "show")
    assert ran.code == 3
    assert "koco login URL" in ran.err


@pytest.mark.parametrize("option", [(), ("--key", "-")], ids=" ".join)
def test_a_key_is_typed_unseen(server: Plane, tmp_path: Path, option: tuple[str, ...]) -> None:
    """A terminal asks for it, wherever stdout goes; stdout has only the name."""
    args = ["-m", "koco", "login", server.url, "--name", "one", *option]
    with Typist(args, stdout=tmp_path / "out") as typist:
        typist.types(f"{KEY}\n")
        assert typist.leaves() == 0, typist.seen
    assert typist.seen.splitlines()[0] == "Key (not shown)"
    assert KEY not in typist.seen
    assert (tmp_path / "out").read_text() == "one\n"
    assert context_file.current() == Context("one", server.url, KEY)


@pytest.mark.parametrize("typed", [CTRL_C, "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_leaving_the_prompt_saves_nothing(server: Plane, typed: str) -> None:
    """Exit code 130, on a line of its own."""
    with Typist(["-m", "koco", "login", server.url]) as typist:
        typist.types(typed)
        assert typist.leaves() == 130
    assert "Traceback" not in typist.seen
    assert (context_file.load_contexts(), server.requests) == ({}, [])


def test_a_key_left_blank(server: Plane) -> None:
    """`add` saves no key then, and `login` refuses it."""
    with Typist(["-m", "koco", "context", "add", "a", server.url]) as typist:
        typist.types("\n")
        assert typist.leaves() == 0
    assert context_file.find("a").key == ""
    with Typist(["-m", "koco", "login", server.url]) as typist:
        typist.types("\n")
        assert typist.leaves() == 2
    assert list(context_file.load_contexts()) == ["a"]


def test_logins_at_once_lose_nothing(server: Plane, home: Path) -> None:
    """Four that have been checked wait for one another's writing: four contexts, one current."""
    save("before")
    args = [sys.executable, "-m", "koco", "login", server.url, "--key", "-", "--name"]
    pipes: Any = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with (home / "contexts.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        logins: list[subprocess.Popen[bytes]] = []
        for at in range(4):
            logins.append(subprocess.Popen([*args, f"n{at}"], **pipes))
            assert logins[-1].stdin is not None
            logins[-1].stdin.write(KEY.encode())
            logins[-1].stdin.close()
        deadline = time.monotonic() + 60
        while len(server.requests) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        assert list(context_file.load_contexts()) == ["before"]
    assert [each.wait(10) for each in logins] == [0] * 4
    assert sorted(context_file.load_contexts()) == ["before", *(f"n{at}" for at in range(4))]
    assert context_file.current().name.startswith("n")


def test_two_adds_of_one_name_do_not_both_win() -> None:
    """The second is refused under the lock, though it looked before the first had written."""
    from koco.cli import contexts

    save("a")
    with pytest.raises(errors.ConflictError):
        context_file.save_context(Context("a", "https://b.test", KEY), guard=contexts.refuse_any)
    assert context_file.find("a").url == "https://a.test"


@pytest.mark.parametrize("command", ["add b https://b.test", "remove a", "use a"])
def test_a_file_that_cannot_be_written_is_named(home: Path, command: str) -> None:
    """Exit code 2, and it stays as it was: here no file may have any content."""
    save("a")
    before = (home / "contexts.toml").read_bytes()
    line = f"ulimit -f 0; exec {sys.executable} -m koco context {command}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: cannot write {home / 'contexts.toml'}: ")
    assert (home / "contexts.toml").read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["contexts.lock", "contexts.toml"]


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_file_that_others_can_read_is_refused_by_all(cli: Cli, home: Path, mode: int) -> None:
    """Nobody adds a key to it; the hint mends it."""
    save("a")
    (home / "contexts.toml").chmod(mode)
    for args in (["list"], ["show"], ["use", "a"], ["remove", "a"], ["add", "b", "https://b"]):
        ran = cli("context", *args)
        assert (ran.code, ran.out) == (2, "")
        assert f"hint: chmod 600 {home / 'contexts.toml'}" in ran.err
    assert cli("login", "https://b", "--key", "-", "--no-check", stdin=KEY).code == 2


@pytest.mark.parametrize(
    "args", [["list"], ["list", "--json"], ["use", "a"], ["show"], ["add", "b", "https://b.test"]]
)
def test_context_commands_send_no_request(args: list[str]) -> None:
    """They do not even import the client, or anything else that is slow."""
    save("a")
    modules, _ = loaded(dict(os.environ), "context", *args)
    assert modules & (HEAVY | {"httpx", "psutil"}) == set()


def test_every_context_command_has_json() -> None:
    """Scripts look after contexts, too."""
    for name in main.COMMANDS:
        if name == "login" or name.startswith("context "):
            group: Any = main.build()
            for word in name.split():
                group = group.get_command(None, word)
            assert "--json" in {option for param in group.params for option in param.opts}


@pytest.mark.parametrize(
    ("name", "loopback"),
    [
        *[(name, True) for name in ("127.0.0.1", "127.1.2.3", "::1", "localhost")],
        *[(name, False) for name in ("127.evil.test", "10.0.0.1", "fd::1", "0.0.0.0", "")],
    ],
)
def test_recognises_loopback_hosts(name: str, loopback: bool) -> None:
    """A name that begins like an address is not an address."""
    assert url.is_loopback(name) is loopback


@pytest.mark.parametrize("name", ["bash", "dash", "fish", "zsh"])
def test_shells_evaluate_url_and_key(cli: Cli, tmp_path: Path, name: str) -> None:
    """Whatever is in them; the certificates are for curl."""
    if (shell := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    ca = tmp_path / "it's $HOME.pem"
    ca.touch()
    context_file.save_context(Context("a", "https://a.test/x'y", KEY, ca=str(ca)), True)
    ran = cli("context", "show", "--shell")
    assert ran.code == 0
    said = 'printf \'%s|%s|%s\' "$KOCO_URL" "$KOCO_KEY" "$CURL_CA_BUNDLE"'
    got = subprocess.run(
        [shell, "-c", f"{ran.out}\n{said}"], check=True, capture_output=True, text=True
    )
    assert got.stdout == f"https://a.test/x'y|{KEY}|{ca}"


def test_variables_for_a_shell_stand_alone(cli: Cli) -> None:
    """Without a key, the shell's own is emptied; JSON is something else."""
    context_file.save_context(Context("a", "https://a.test", ""), True)
    assert cli("context", "show", "--shell").out.splitlines()[1] == "export KOCO_KEY=''"
    assert cli("context", "show", "--shell", "--json").code == 2
