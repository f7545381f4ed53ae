"""Attacks by bundles: what the control plane reads of them, and what it lets nodes unpack."""

import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from koco.cluster.runners import EnvironmentFailed
from koco.control.deploy import packages
from koco.errors import KocoError, LimitError, UsageError
from koco.manifest.model import Runtime
from koco.project import bundle_listing

MB = 1024 * 1024


def zipped(path: Path, entries: list[tuple[str, bytes]], **facts: Any) -> Path:
    """Write a zip with entries of any name and kind."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../outside.py", "a/../../outside.py", "a/./b.py", "a//b.py", "//a"),
        *("..", ".", "C:/x.py", "..\\outside.py", "a\\..\\..\\b", "a.py\0.txt"),
    ],
)
def test_a_bundle_with_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever unpacks it somewhere need not know of such."""
    path = zipped(tmp_path / "b.zip", [("app.py", b""), (name, b"x")])
    if "\0" in name:  # the module writes none itself
        path.write_bytes(path.read_bytes().replace(b"a.py_.txt", b"a.py\0.txt"))
    with pytest.raises(UsageError, match="the bundle"):
        bundle_listing.check(path, most_bytes=MB)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_bundle_with_links_or_devices_is_refused(tmp_path: Path, kind: int) -> None:
    """A link to /etc/shadow is no code."""
    path = zipped(tmp_path / "b.zip", [("app.py", b"/etc/shadow")], external_attr=kind << 16)
    with pytest.raises(UsageError, match="a link or a device"):
        bundle_listing.check(path, most_bytes=MB)


def test_a_bundle_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    """One reader would take the first, another the last: what is reviewed is what runs."""
    path = zipped(tmp_path / "b.zip", [("app.py", b"good"), ("app.py", b"evil")])
    with pytest.raises(UsageError, match="twice"):
        bundle_listing.check(path, most_bytes=MB)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip" * 1000, b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    """Before a release begins that no node could start."""
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(KocoError, match="the bundle"):
        bundle_listing.check(tmp_path / "b.zip", most_bytes=MB)


def test_a_zip_bomb_is_refused_by_its_table_of_contents(tmp_path: Path) -> None:
    """Nothing of it is unpacked to find out."""
    path = zipped(tmp_path / "b.zip", [(f"{n}.txt", b"\0" * MB) for n in range(8)])
    assert path.stat().st_size < 20_000
    bundle_listing.check(path, most_bytes=8 * MB)
    with pytest.raises(LimitError, match="max_file_mb"):
        bundle_listing.check(path, most_bytes=7 * MB)


def test_a_table_of_contents_without_end_is_not_read(tmp_path: Path) -> None:
    """Python's reader would make gigabytes of it."""
    path = tmp_path / "b.zip"
    size = 65 * MB
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, size, 0, 0))
    with pytest.raises(LimitError, match="more files"):
        bundle_listing.check(path, most_bytes=1e12)


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ({"dependencies": [], "requirements": "requirements.txt"}, "requirements.txt"),
        ({"dependencies": [], "requirements": "r.txt"}, "included.txt"),
        ({"pyproject": "pyproject.toml"}, "uv.lock"),
        ({"pyproject": "pyproject.toml"}, "a/pyproject.toml"),
    ],
)
def test_what_the_control_plane_reads_of_a_bundle_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: dict[str, Any], name: str
) -> None:
    """A lock of gigabytes, which is kilobytes in the zip, would be the end of its memory."""
    monkeypatch.setattr(packages, "_TEXT_BYTES", MB)
    files = {"r.txt": b"-r included.txt", "pyproject.toml": b"[project]", "uv.lock": b"version = 1"}
    path = zipped(tmp_path / "b.zip", [*{**files, name: b"#" * 2 * MB}.items()])
    assert path.stat().st_size < 5000
    with pytest.raises(EnvironmentFailed, match="is larger than"):
        packages.to_install(path, Runtime.model_validate(runtime))


def test_a_lock_with_names_that_lead_out_writes_nothing_there(tmp_path: Path) -> None:
    """uv gets a folder with what is in it, whatever the zip calls it."""
    entries = [
        ("pyproject.toml", b"[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.11'\n"),
        ("uv.lock", b"version = 1\n"),
        ("../../../pyproject.toml", b"evil"),
        (f"{tmp_path}/absolute/pyproject.toml", b"evil"),
    ]
    path = zipped(tmp_path / "b.zip", entries)
    with pytest.raises(EnvironmentFailed):
        packages.to_install(path, Runtime(pyproject="pyproject.toml"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.zip"]
