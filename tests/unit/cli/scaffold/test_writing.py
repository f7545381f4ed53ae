"""A project is written as a whole, or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.cli.main import run
from koco.cli.scaffold import writing
from koco.cli.scaffold.writing import Content
from koco.errors import ConflictError, UsageError
from tests.support import small_disk


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which this user may write nothing: the kernel's own if that is root."""
    if os.geteuid() == 0:
        yield Path("/sys/kernel")
    else:
        tmp_path.chmod(0o500)
        yield tmp_path
        tmp_path.chmod(0o700)


def test_a_folder_that_may_not_be_written_is_named(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, with the system's own words."""
    assert run(["init", str(closed / "demo"), "-t", "hello"]) == 2
    told = capsys.readouterr()
    assert f"error: {closed}/demo" in told.err
    assert "cannot be written: " in told.err
    assert told.out == ""


def test_a_full_disk_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """What was written before it was full is removed again, the new folders as well."""
    with small_disk.mounted(1) as disk:
        theirs = small_disk.leave(disk, 128_000)
        assert run(["init", str(disk / "a/demo"), "-t", "hello"]) == 2
        said = "koco.schema.json cannot be written: No space left on device"
        assert f"{disk}/a/demo/{said}" in capsys.readouterr().err
        assert [*disk.iterdir()] == [theirs]


def test_existing_files_and_folders_stay_if_a_later_file_fails(tmp_path: Path) -> None:
    """Only what this call has created is removed."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old/mine").write_text("mine")
    (tmp_path / "later").write_text("mine")
    files = {Path(name): Content(b"new") for name in ("old/a", "new/deep/b", "later")}
    with pytest.raises(ConflictError, match="later was created meanwhile"):
        writing.write(tmp_path, files)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["later", "old", "old/mine"]
    assert (tmp_path / "later").read_text() == "mine"


def test_a_name_that_the_disk_cannot_have_is_an_error(tmp_path: Path) -> None:
    """The file is named, not `None`."""
    with pytest.raises(UsageError, match=r"xxx cannot be written: File name too long"):
        writing.write(tmp_path, {Path("x" * 300): Content(b"")})
