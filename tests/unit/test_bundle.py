"""The bundle: which files it has, and that the same files make the same bytes."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from koco import bundle
from koco.errors import NotFoundError, UsageError


def write(root: Path, *names: str, **contents: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get("text", name))
    return root


def names(root: Path, *patterns: str) -> list[str]:
    return [file.name for file in bundle.collect(root, patterns or ("**",))]


def ignore(root: Path, *lines: str, name: str = ".gitignore") -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n")


def test_everything_is_shipped_but_what_tools_make(tmp_path: Path) -> None:
    """Caches, environments and version control stay at home, unasked, at any depth."""
    write(tmp_path, "a/app.py", "koco.yaml", ".env.example")
    write(tmp_path, ".git/config", "a/__pycache__/x.py", "a/x.pyc", ".venv/p.py", "venv/p.py")
    write(tmp_path, "web/node_modules/x.js", ".DS_Store", "x.egg-info/PKG", ".mypy_cache/x")
    write(tmp_path, ".ruff_cache/x", "a/.pytest_cache/x", ".koco-bundle.json")
    assert names(tmp_path) == [".env.example", "a/app.py", "koco.yaml"]


def test_what_is_never_shipped_cannot_be_asked_for(tmp_path: Path) -> None:
    """Neither a pattern nor a `!` rule brings `.git` into a bundle."""
    write(tmp_path, ".git/config", "app.py")
    ignore(tmp_path, "!.git", name=".kocoignore")
    assert ".git/config" not in names(tmp_path, "**", ".git")


def test_patterns_choose_among_the_files(tmp_path: Path) -> None:
    """They are `.gitignore`'s, with `!` to leave out; ignored files stay ignored."""
    write(tmp_path, "a/app.py", "a/x.csv", "b/app.py", "data/x.csv", "data/y.csv", "z.log")
    ignore(tmp_path, "y.csv")
    assert names(tmp_path, "a/", "data/*.csv", "!a/*.csv") == ["a/app.py", "data/x.csv"]


def test_kocoignore_leaves_out_and_brings_back(tmp_path: Path) -> None:
    """Its rules come after `.gitignore`'s, so `!` ships what git does not keep."""
    write(tmp_path, "app.py", "built.js", "notes.txt", "sub/notes.txt", "sub/keep/notes.txt")
    ignore(tmp_path, "built.js")
    ignore(tmp_path, "!built.js", "notes.txt", name=".kocoignore")
    ignore(tmp_path / "sub" / "keep", "!notes.txt", name=".kocoignore")
    found = [name for name in names(tmp_path) if "ignore" not in name]
    assert found == ["app.py", "built.js", "sub/keep/notes.txt"]


def test_rules_of_the_repository_above_hold(tmp_path: Path) -> None:
    """A project in a repository's folder is under its rules, but not under those beyond it."""
    ignore(tmp_path, "*.py")
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    ignore(tmp_path / "repo", "*.log", "/flows/one/x.txt")
    project = write(tmp_path / "repo/flows/one", "app.py", "a.log", "x.txt", "y/x.txt")
    assert names(project) == ["app.py", "y/x.txt"]


def test_a_project_in_an_ignored_folder_is_shipped(tmp_path: Path) -> None:
    """Its repository's rules would leave nothing of it; its own still hold."""
    (tmp_path / ".git").mkdir()
    ignore(tmp_path, "scratch/", "*.txt")
    project = write(tmp_path / "scratch/one", "app.py", "a.log", "x.txt")
    ignore(project, "*.log")
    assert names(project) == [".gitignore", "app.py", "x.txt"]


PARTS = ["a", "b", "build", "keep.log", "x.log", "x.py"]
RULES = [
    *("*", "*/", "!*/", "!*.py", "*.log", "!keep.log", "build/", "/build", "build", "!build/"),
    *("a/b", "/a/*", "!/a/b/", "a/**", "**/b", "a/**/x.py", "!a/", "a/", "# no", "", r"\!a", "x.*"),
    *(
        "!a/**",
        "!build",
        "!x.log",
        "!/a",
        "/*",
        "!a/b",
        "**",
        "**/a/",
        "?",
        "[ab]",
        "!a/**/b",
    ),
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sets(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join), min_size=2),
    st.lists(st.sampled_from(RULES), max_size=5),
    st.lists(st.sampled_from(RULES), max_size=3),
)
@example({"a", "keep.log/keep.log"}, ["*", "!keep.log"], [])
@example({"a/x.log", "a/x.py", "b"}, ["*", "!*/", "!*.py"], [])
@example({"a/b", "a/x.py"}, ["a/**", "!a/b"], [])
def test_ignore_rules_mean_what_they_mean_to_git(
    tmp_path: Path, paths: set[str], outer: list[str], inner: list[str]
) -> None:
    """For any rules, in the root and in a folder, the bundle has the files that git would add."""
    root = tmp_path / "repo"
    shutil.rmtree(root, ignore_errors=True)
    ignore(root, *outer)
    for path in sorted(paths):
        target = root / path
        # A name may be a file here and a folder there; the first one stays.
        if not target.exists() and all(p.is_dir() or not p.exists() for p in target.parents):
            write(root, path)
    if (root / "a").is_dir():
        ignore(root / "a", *inner)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    command = ["git", "-c", "core.excludesFile=/dev/null", "ls-files", "-o", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert names(root) == sorted(listed.split())


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    """Neither the order of making, nor time, umask or permissions show; contents do."""
    one = write(tmp_path / "one", "a.py", "b/c.py", "ü.txt")
    before = os.umask(0o077)
    try:
        two = write(tmp_path / "two", "ü.txt", "b/c.py", "a.py")
    finally:
        os.umask(before)
    os.utime(two / "a.py", (1_000_000_000, 1_000_000_000))
    (two / "b/c.py").chmod(0o640)
    with bundle.pack(one) as first, bundle.pack(two) as second:
        assert first.path.read_bytes() == second.path.read_bytes()
        assert first.sha256 == second.sha256
    write(two, "a.py", text="changed")
    with bundle.pack(two) as changed:
        assert changed.sha256 != first.sha256


def test_the_bytes_are_the_same_in_other_processes(tmp_path: Path) -> None:
    """Hash seeds, time zones and locales do not show."""
    write(tmp_path, "a.py", "b.py", "c/d.py")
    code = (
        "import sys; from pathlib import Path; from koco import bundle\n"
        "with bundle.pack(Path(sys.argv[1])) as packed: print(packed.sha256)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, zone in [("1", "UTC"), ("2", "Asia/Tokyo")]
    }
    assert len(hashes) == 1


def test_what_the_zip_holds(tmp_path: Path) -> None:
    """Names, contents and the exec bit; the marker first; hash and size are the file's."""
    write(tmp_path / "p", "run.sh", "pkg/app.py")
    (tmp_path / "p/run.sh").chmod(0o700)
    packed = bundle.pack(tmp_path / "p", dest=tmp_path / "out.zip")
    assert packed.path == tmp_path / "out.zip"
    data = packed.path.read_bytes()
    assert (packed.sha256, packed.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    with zipfile.ZipFile(packed.path) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.read("pkg/app.py") == b"pkg/app.py"
        assert archive.testzip() is None
    assert modes == {".koco-bundle.json": 0o100644, "pkg/app.py": 0o100644, "run.sh": 0o100755}
    assert next(iter(modes)) == ".koco-bundle.json"


def test_a_temporary_bundle_is_removed_at_the_end(tmp_path: Path) -> None:
    """Also where packing fails half-way."""
    write(tmp_path / "p", "a.py")
    with bundle.pack(tmp_path / "p") as packed:
        assert packed.path.exists()
    assert not packed.path.exists()


def test_a_failed_pack_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a half-written zip nor its temporary file stays behind."""
    write(tmp_path / "p", "a.py")
    files = bundle.collect(tmp_path / "p")
    monkeypatch.setattr(bundle, "collect", lambda *_, **__: files)
    (tmp_path / "p/a.py").unlink()
    with pytest.raises(UsageError, match=r"a\.py was removed"):
        bundle.pack(tmp_path / "p", dest=tmp_path / "out.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_place_that_takes_no_bundle_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do: another folder for temporary files."""
    write(tmp_path / "p", "a.py")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="the bundle cannot be written") as caught:
        bundle.pack(tmp_path / "p")
    assert "TMPDIR" in str(caught.value.hint)
    (tmp_path / "p/a.py").unlink()
    write(tmp_path / "p", "big.bin")
    (tmp_path / "p/big.bin").write_bytes(os.urandom(100_000))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(UsageError, match="the bundle cannot be written"):
            bundle.pack(tmp_path / "p")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_links_inside_the_project_are_followed(tmp_path: Path) -> None:
    """A link to a file or a folder is shipped as what it leads to."""
    write(tmp_path, "a/app.py")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.py").symlink_to("a/app.py")
    assert names(tmp_path) == ["a/app.py", "b/app.py", "c.py"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../outside", "leads out of the project"),
        ("missing", "which is not there"),
        (".", "a folder that it is in"),
        ("self", "which is not there"),
        (".git/config", "never shipped"),
    ],
)
def test_links_that_cannot_be_shipped_are_refused(tmp_path: Path, target: str, said: str) -> None:
    """By name, with where they lead, unless they are ignored."""
    root = write(tmp_path / "p", "a.py", ".git/config")
    write(tmp_path, "outside")
    (root / "self").symlink_to(target)
    with pytest.raises(UsageError, match=f"self is a link .*{said}") as caught:
        bundle.collect(root)
    assert ".kocoignore" in (caught.value.hint or "")
    ignore(root, "self", name=".kocoignore")
    assert names(root) == [".kocoignore", "a.py"]


def test_nothing_to_ship_is_an_error(tmp_path: Path) -> None:
    """An empty bundle would only fail later."""
    write(tmp_path, "a.py")
    with pytest.raises(UsageError, match="no files to ship"):
        bundle.pack(tmp_path, ["b/"])
    with pytest.raises(NotFoundError, match="no such folder"):
        bundle.collect(tmp_path / "none")


def test_what_is_left_out_may_be_all_there_is(tmp_path: Path) -> None:
    """A service whose code is in its dependencies ships none of its own."""
    write(tmp_path, "koco.yaml", "a.py")
    left = {tmp_path.resolve() / "koco.yaml"}
    assert [file.name for file in bundle.collect(tmp_path, without=left)] == ["a.py"]
    with bundle.pack(tmp_path, ["koco.yaml"], without=left) as packed:
        assert packed.files == ()
    with pytest.raises(UsageError, match="no files to ship"):
        bundle.pack(tmp_path, ["b/"], without=left)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, seen by a user whom permissions bind: root reads everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write(Path(folder), "a.py", "keys/key.pem")
        before = os.geteuid()
        if before == 0:
            (Path(folder) / "keys").chmod(0o755)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)


@pytest.mark.parametrize("name", ["keys/key.pem", "keys"])
def test_what_cannot_be_read_is_named(unprivileged: Path, name: str) -> None:
    """A file or a folder, with what to do about it."""
    euid = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    mode = (unprivileged / name).stat().st_mode
    (unprivileged / name).chmod(0)
    os.seteuid(euid)
    with pytest.raises(UsageError, match=f"{name} cannot be read: Permission denied"):
        bundle.pack(unprivileged)
    if os.getuid() == 0:
        os.seteuid(0)
    (unprivileged / name).chmod(mode)


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """A zip's names are text."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")).write_text("")
    with pytest.raises(UsageError, match=r"caf\\\S*\.py has a name that is no UTF-8"):
        bundle.collect(tmp_path)


def test_an_oversize_bundle_names_its_largest_files(tmp_path: Path) -> None:
    """So that one sees what to leave out."""
    write(tmp_path, "small.py")
    (tmp_path / "big.bin").write_bytes(os.urandom(3 << 20))
    with bundle.pack(tmp_path) as packed:
        assert [file.name for file in packed.largest(1)] == ["big.bin"]
        assert packed.oversize(10 << 20) is None
        warning = packed.oversize(1 << 20)
    assert warning is not None
    assert "3.0 MiB, more than 1.0 MiB; largest: big.bin (3.0 MiB)" in warning
