"""The bundle: the same files make the same bytes, and it holds what it says."""

import hashlib
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from koco import file_reading
from koco.control.backup import archive
from koco.errors import UsageError
from koco.project import bundle, bundle_listing, file_tree
from tests.unit.project.test_file_tree import write


def pack(
    root: Path, patterns: Iterable[str] = ("**",), *, dest: Path | None = None, **more: Any
) -> bundle.Bundle:
    return bundle.pack(file_tree.read(root, patterns, **more), dest=dest)


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
    with pack(one) as first, pack(two) as second:
        assert first.path.read_bytes() == second.path.read_bytes()
        assert first.sha256 == second.sha256
    write(two, "a.py", text="changed")
    with pack(two) as changed:
        assert changed.sha256 != first.sha256


def test_the_bytes_are_the_same_in_other_processes(tmp_path: Path) -> None:
    """Hash seeds, time zones and locales do not show."""
    write(tmp_path, "a.py", "b.py", "c/d.py")
    code = (
        "import sys; from pathlib import Path; from koco.project import bundle, file_tree\n"
        "with bundle.pack(file_tree.read(Path(sys.argv[1]))) as packed: print(packed.sha256)"
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
    packed = pack(tmp_path / "p", dest=tmp_path / "out.zip")
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
    with pack(tmp_path / "p") as packed:
        assert packed.path.exists()
    assert not packed.path.exists()


def test_a_failed_pack_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half-written zip nor its temporary file stays behind."""
    found = file_tree.read(write(tmp_path / "p", "a.py"))
    (tmp_path / "p/a.py").unlink()
    (tmp_path / "p/a.py").mkdir()
    with pytest.raises(UsageError, match=r"a\.py cannot be read"):
        bundle.pack(found, dest=tmp_path / "out.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_what_is_packed_is_what_was_read(tmp_path: Path) -> None:
    """By path, with size, hash and whether it can be executed, as the zip itself says."""
    root = write(tmp_path / "p", "z", "pkg/a", "run")
    (root / "run").chmod(0o755)
    with pack(root) as packed:
        assert packed.files == bundle.read(file_tree.read(root)).files
        assert packed.files == bundle_listing.of_zip(packed.path)
    assert [(file.path, file.size_bytes, file.executable) for file in packed.files] == [
        ("pkg/a", 5, False),
        ("run", 3, True),
        ("z", 1, False),
    ]


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_whatever_changes_the_bundle_changes_what_is_read(tmp_path: Path, change: str) -> None:
    """Content of the same length, the exec bit, and a name."""
    root = write(tmp_path, "a", "b")
    before = bundle.read(file_tree.read(root))
    match change:
        case "content":
            (root / "a").write_text("c")
        case "mode":
            (root / "a").chmod(0o755)
        case _:
            (root / "a").rename(root / "c")
    assert bundle.read(file_tree.read(root)) != before


def test_a_file_that_has_gone_is_none_of_them(tmp_path: Path) -> None:
    """Between looking for files and reading them."""
    found = file_tree.read(write(tmp_path / "p", "a.py", "b.py"))
    (tmp_path / "p/a.py").unlink()
    with bundle.pack(found) as packed:
        assert [file.path for file in packed.files] == ["b.py"]
        assert bundle_listing.of_zip(packed.path) == packed.files


def test_a_file_that_grows_without_end_is_read_once(tmp_path: Path) -> None:
    """As far as it went when it was opened; what the bundle says is what is in it."""
    log = write(tmp_path / "p", "a.py", "z.log") / "z.log"
    found = file_tree.read(tmp_path / "p")
    with (
        log.open("a") as growing,
        bundle.pack(found, advance=lambda size_bytes: growing.write("x" * 9_000)) as packed,
    ):
        assert bundle_listing.of_zip(packed.path) == packed.files


@pytest.mark.parametrize("away", [True, False])
def test_a_file_that_is_being_saved_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """Who saves a file empties it first, or has it away: no module, or none that does anything."""
    path = write(tmp_path / "p", "a.py") / "a.py"
    found = file_tree.read(tmp_path / "p")
    monkeypatch.setattr(file_reading, "EMPTY_S", 60)
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_text("saved"))
    path.unlink()
    if not away:
        path.write_text("")
    assert [file.size_bytes for file in bundle.read(found).files] == [5]


KEY = "-----BEGIN {}PRIVATE KEY-----\nMIIEvQ\n"
ACCOUNT = '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nMII"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deploy", KEY.format("OPENSSH ")),
        ("deploy.txt", "\ufeff\n" + KEY.format("")),
        ("a.example", KEY.format("RSA ")),
        ("pgp", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n"),
        ("putty", "PuTTY-User-Key-File-3: ssh-ed25519\n"),
        ("account.json", ACCOUNT),
        ("cluster.yaml", "apiVersion: v1\nclusters: []\nkind: Config\n"),
        ("inv.backup", tarfile.TarInfo(archive.HEAD).tobuf().decode()),
    ],
)
def test_what_begins_as_a_secret_is_left_out(tmp_path: Path, name: str, content: str) -> None:
    """Whatever it is called, unless it is included; and it is in no bundle for a moment."""
    root = write(tmp_path / "p", "a.py")
    (root / name).write_text(content)
    with pack(root) as packed:
        assert [file.path for file in packed.files] == ["a.py"]
        assert [each.name for each in packed.contents.left_out] == [name]
        assert [file.path for file in bundle_listing.of_zip(packed.path)] == ["a.py"]
    with pack(root, include=[name]) as packed:
        assert [file.path for file in packed.files] == sorted(["a.py", name])


@pytest.mark.parametrize(
    "content",
    [
        "-----BEGIN PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\n",
        'KEY = """' + KEY.format("") + '"""',
        '{"private_key": "…"}',
        "apiVersion: v1\nkind: ConfigMap\n",
        "",
    ],
)
def test_what_only_mentions_a_secret_is_shipped(tmp_path: Path, content: str) -> None:
    """Public keys, certificates, tests and placeholders."""
    root = write(tmp_path / "p", "a.json")
    (root / "a.json").write_text(content)
    with pack(root) as packed:
        assert [file.path for file in packed.files] == ["a.json"]


def test_a_place_that_takes_no_bundle_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do: another folder for temporary files."""
    write(tmp_path / "p", "a.py")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="the bundle cannot be written") as caught:
        pack(tmp_path / "p")
    assert "TMPDIR" in str(caught.value.hint)
    (tmp_path / "p/a.py").unlink()
    write(tmp_path / "p", "big.bin")
    (tmp_path / "p/big.bin").write_bytes(os.urandom(100_000))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(UsageError, match="the bundle cannot be written"):
            pack(tmp_path / "p")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_nothing_to_ship_is_an_error(tmp_path: Path) -> None:
    """An empty bundle would only fail later."""
    write(tmp_path, "a.py")
    with pytest.raises(UsageError, match="no files to ship"):
        pack(tmp_path, ["b/"])


def test_what_is_left_out_may_be_all_there_is(tmp_path: Path) -> None:
    """A service whose code is in its dependencies ships none of its own."""
    write(tmp_path, "koco.yaml", "a.py")
    left = {tmp_path.resolve() / "koco.yaml"}
    assert [file.name for file in file_tree.read(tmp_path, without=left).files] == ["a.py"]
    with pack(tmp_path, ["koco.yaml"], without=left) as packed:
        assert packed.files == []
    with pytest.raises(UsageError, match="no files to ship"):
        pack(tmp_path, ["b/"], without=left)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, seen by a user whom permissions bind: root reads everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write(Path(folder), "a.py", "keys/key.txt")
        before = os.geteuid()
        if before == 0:
            (Path(folder) / "keys").chmod(0o755)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)


@pytest.mark.parametrize("name", ["keys/key.txt", "keys"])
def test_what_cannot_be_read_is_named(unprivileged: Path, name: str) -> None:
    """A file or a folder, with what to do about it."""
    euid = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    mode = (unprivileged / name).stat().st_mode
    (unprivileged / name).chmod(0)
    os.seteuid(euid)
    with pytest.raises(UsageError, match=f"{name} cannot be read: Permission denied"):
        pack(unprivileged)
    if os.getuid() == 0:
        os.seteuid(0)
    (unprivileged / name).chmod(mode)
