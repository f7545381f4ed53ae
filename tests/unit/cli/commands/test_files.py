"""`koco files`, and files among a launch's inputs; against the real routes, without Ray."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.api_server import Api, serving
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli, Use


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("plane")) as api:
        yield api


@pytest.fixture
def api(server: Api, use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Make it the control plane that `koco` talks to, from an empty folder."""
    use(server.url, "ada")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return server


@pytest.fixture
def write() -> Callable[..., None]:
    def files(**content: str) -> None:
        for name, text in content.items():
            path = Path(name.replace("__", "/").replace("_", "."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return files


def test_files_go_up_and_come_back(api: Api, cli: Cli, write: Callable[..., None]) -> None:
    """Files and folders, listed, fetched under their names, and removed."""
    fid = api.execution()
    write(a_txt="A", docs__b_txt="B", docs__deep__c_txt="C")
    ran = cli("files", "put", fid, "a.txt", "docs")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.split() == ["in/a.txt", "in/docs/b.txt", "in/docs/deep/c.txt"]
    assert cli("files", "put", fid[:8], "a.txt", "--to", "in/more/").out == "in/more/a.txt\n"
    listed = cli("files", "ls", fid, "in/docs")
    assert [line.split("\t")[0] for line in listed.out.splitlines()] == [
        "path",
        "in/docs/b.txt",
        "in/docs/deep/c.txt",
    ]
    items = json.loads(cli("files", "ls", "-", "--json").out)["items"]
    assert [item["size_bytes"] for item in items] == [1, 1, 1, 1]
    got = cli("files", "get", fid, "in/docs", "in/a.txt", "--to", "new/place")
    assert got.code == 0, got.err
    assert got.out.split() == [
        "new/place/docs/b.txt",
        "new/place/docs/deep/c.txt",
        "new/place/a.txt",
    ]
    assert Path("new/place/docs/deep/c.txt").read_text() == "C"
    assert not list(Path("new").rglob(".*"))
    assert cli("files", "get", fid, "in/a.txt", "--to", "-").out == "A"
    assert cli("files", "rm", fid, "in/docs/").out.split() == [
        "in/docs/b.txt",
        "in/docs/deep/c.txt",
    ]
    assert cli("files", "ls", fid, "in/docs").code == 4


def test_a_download_overwrites_only_by_force(
    api: Api, cli: Cli, write: Callable[..., None]
) -> None:
    """Existing files are kept without --force; two of one name are refused."""
    fid = api.execution()
    write(a_txt="A", sub__a_txt="other")
    cli("files", "put", fid, "a.txt")
    cli("files", "put", fid, "a.txt", "--to", "in/x")
    Path("a.txt").write_text("mine")
    ran = cli("files", "get", fid, "in/a.txt")
    assert ran.code == 2
    assert "--force replaces it" in ran.err
    assert Path("a.txt").read_text() == "mine"
    assert cli("files", "get", fid, "in/a.txt", "--force").code == 0
    assert Path("a.txt").read_text() == "A"
    assert cli("files", "get", fid, "in/a.txt", "in/x/a.txt", "--to", "d").code == 2
    assert not Path("d").exists()
    Path("e/a.txt").mkdir(parents=True)
    assert cli("files", "get", fid, "in/a.txt", "--to", "e", "--force").code == 2
    assert cli("files", "get", fid, "in/none").code == 4
    assert cli("files", "get", fid, "in", "--to", "-").code == 2
    assert cli("files", "get", fid, "in/a.txt", "--to", "-", "--json").code == 2


def test_a_download_does_not_leave_its_folder_through_a_link(
    api: Api, cli: Cli, write: Callable[..., None], tmp_path: Path
) -> None:
    """A link in the way is not followed out, and one in a file's place is replaced."""
    fid = api.execution()
    write(docs__b_txt="B")
    cli("files", "put", fid, "docs")
    outside = tmp_path / "outside"
    outside.mkdir()
    Path("to").mkdir()
    Path("to/docs").symlink_to(outside)
    ran = cli("files", "get", fid, "in/docs", "--to", "to")
    assert ran.code == 2
    assert "is outside of to: a link" in ran.err
    Path("to/docs").unlink()
    Path("to/docs").mkdir()
    (outside / "secret").write_text("secret")
    Path("to/docs/b.txt").symlink_to(outside / "secret")
    assert cli("files", "get", fid, "in/docs", "--to", "to", "--force").code == 0
    assert (outside / "secret").read_text() == "secret"
    assert Path("to/docs/b.txt").read_text() == "B"
    part = f".{hashlib.sha256(b'B').hexdigest()[:32]}.part"
    Path("to/docs", part).symlink_to(outside / "secret")
    ran = cli("files", "get", fid, "in/docs", "--to", "to", "--force")
    assert (ran.code, ran.err.partition(":")[2].split()[:2]) == (2, ["cannot", "write"])
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "in/../a", "a", "in//a", "in/%2e%2e/a"])
def test_refuses_invalid_paths_before_any_request(api: Api, cli: Cli, name: str) -> None:
    """Exit code 2, with the allowed beginnings of paths."""
    for command in (["ls", "x"], ["get", "x"], ["rm", "x"]):
        ran = cli("files", *command, name)
        assert ran.code in (2, 4), ran
    assert "hint: a path begins with in/ or out/" in cli("files", "rm", "x", name).err
    assert cli("files", "put", "x", ".", "--to", name).code == 2


def test_a_folder_is_not_left_by_links_on_the_way_up(
    api: Api, cli: Cli, write: Callable[..., None], tmp_path: Path
) -> None:
    """Links within are followed; out of it, to nothing, or in a circle they are refused."""
    fid = api.execution()
    write(docs__b_txt="B")
    Path("docs/same.txt").symlink_to("b.txt")
    ran = cli("files", "put", fid, "docs")
    assert ran.out.split() == ["in/docs/b.txt", "in/docs/same.txt"]
    (tmp_path / "secret").write_text("s")
    for target in (tmp_path / "secret", tmp_path, "..", ".", "none"):
        Path("docs/link").symlink_to(target)
        ran = cli("files", "put", fid, "docs")
        assert (ran.code, ran.out) == (2, ""), target
        assert "docs/link is a link" in ran.err
        Path("docs/link").unlink()


def test_refuses_things_that_are_not_files(api: Api, cli: Cli) -> None:
    """Nothing there, an empty folder, a pipe, a name that no path can have."""
    fid = api.execution()
    Path("empty").mkdir()
    os.mkfifo("pipe")
    Path("bad").mkdir()
    Path("bad/a\nb").write_text("x")
    assert cli("files", "put", fid, "none").code == 4
    assert "no file in that folder" in cli("files", "put", fid, "empty").err
    assert "neither a file nor a folder" in cli("files", "put", fid, "pipe").err
    assert "control character" in cli("files", "put", fid, "bad").err


def test_does_not_upload_existing_content(
    plane: Plane, cli: Cli, write: Callable[..., None]
) -> None:
    """A launch asks first; the second time that is all."""
    write(a_txt="A")
    assert cli("run", "greet", "-i", "who=@a.txt").code == 0
    sha256 = hashlib.sha256(b"A").hexdigest()
    assert plane.requests[-1][2] == {"who": {"$file": {"name": "a.txt", "sha256": sha256}}}
    assert plane.blobs == {sha256: b"A"}
    plane.requests.clear()
    assert cli("run", "greet", "-i", "who=@a.txt").code == 0
    assert [method for method, path, _ in plane.requests if "blobs" in path] == ["HEAD"]


def test_a_launch_accepts_folders_and_several_files(
    plane: Plane, cli: Cli, write: Callable[..., None]
) -> None:
    """Each makes a list, in which names keep their folders."""
    write(docs__b_txt="B", docs__c_txt="C", a_txt="A")

    def names(*args: str) -> list[str]:
        assert cli("run", "greet", *args).code == 0
        return [each["$file"]["name"] for each in plane.requests[-1][2]["who"]]

    assert names("-i", "who=@docs") == ["docs/b.txt", "docs/c.txt"]
    assert names("-i", "who=@a.txt", "-i", "who=@docs/b.txt") == ["a.txt", "b.txt"]
    assert names("-i", "who=@a.txt", "-i", "who=@docs") == ["a.txt", "docs/b.txt", "docs/c.txt"]


def test_text_that_begins_with_an_at_sign_can_be_sent(plane: Plane, cli: Cli) -> None:
    """`@@` on the command line; in a file of inputs it is text anyway."""
    assert cli("run", "greet", "-i", "who=@@ada").code == 0
    assert plane.requests[-1][2] == {"who": "@ada"}
    assert cli("run", "greet", "--inputs", "-", stdin='{"who": "@/etc/passwd"}').code == 0
    assert plane.requests[-1][2] == {"who": "@/etc/passwd"}
    ran = cli("run", "greet", "-i", "who=@ada")
    assert ran.code == 4
    assert "to send the text '@ada', write '@@ada'" in ran.err


def test_a_key_twice_is_a_mistake_unless_both_are_files(plane: Plane, cli: Cli) -> None:
    """As before."""
    for second in ("who=b", "who=@@b"):
        assert cli("run", "greet", "-i", "who=a", "-i", second).code == 2
    assert cli("run", "greet", "-i", "who=@a", "-i", "who=b").code == 2


def test_two_files_of_one_name_are_not_put_over_each_other(
    api: Api, cli: Cli, write: Callable[..., None]
) -> None:
    """Neither is lost in silence."""
    fid = api.execution()
    write(a__x_txt="1", b__x_txt="2")
    ran = cli("files", "put", fid, "a/x.txt", "b/x.txt")
    assert (ran.code, ran.out) == (2, "")
    assert "two files have the same path in/x.txt" in ran.err
    assert cli("files", "ls", fid).out == "path\tsize_bytes\tby\tcreated\tsha256\n"


def test_a_bar_is_drawn_at_a_terminal_only(
    api: Api, cli: Cli, terminal: Cli, write: Callable[..., None]
) -> None:
    """While bytes go up and come down; a pipe gets paths and nothing else."""
    fid = api.execution()
    write(a_txt="A" * 1_000_000)
    assert "uploading a.txt" in terminal("files", "put", fid, "a.txt").out
    assert "downloading a.txt" in terminal("files", "get", fid, "in/a.txt", "--to", "x").out
    listed = terminal("files", "ls", fid).out
    assert "976.6 kB" in listed
    assert cli("files", "put", fid, "a.txt").err == ""


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_an_invalid_limit_starts_nothing(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """`koco up` says so before it writes a context or starts Ray."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    ran = cli("up", "--free-ports", "--set", f"max_file_mb={value}")
    assert (ran.code, ran.out) == (2, "")
    assert "the setting max_file_mb cannot be" in ran.err
    assert not (tmp_path / "home/contexts.toml").exists()
