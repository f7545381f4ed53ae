"""Listings: the same of a folder as of the bundle that is made from it."""

import zipfile
from pathlib import Path

import pytest

from koco import bundle, listing
from koco.errors import UsageError


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
        (root / name.replace("__", "/")).write_text(text)
    return root


def test_a_folder_is_listed_as_its_bundle(tmp_path: Path) -> None:
    """By path, with size, hash and whether it can be executed; koco's own marker is none of it."""
    root = write(tmp_path / "p", z="1", pkg__a="22", run="x")
    (root / "run").chmod(0o755)
    with bundle.pack(root) as packed:
        files = listing.of_files(bundle.collect(root))
        assert files == listing.of_zip(packed.path)
    assert [(file.path, file.size_bytes, file.executable) for file in files] == [
        ("pkg/a", 2, False),
        ("run", 1, True),
        ("z", 1, False),
    ]


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_whatever_changes_the_bundle_changes_the_listing(tmp_path: Path, change: str) -> None:
    """Content of the same length, the exec bit, and a name."""
    root = write(tmp_path, a="1", b="1")
    before = listing.of_files(bundle.collect(root))
    match change:
        case "content":
            (root / "a").write_text("2")
        case "mode":
            (root / "a").chmod(0o755)
        case _:
            (root / "a").rename(root / "c")
    assert listing.of_files(bundle.collect(root)) != before


def test_a_bundle_made_by_others_is_listed(tmp_path: Path) -> None:
    """In any order, with folders, without a marker; what is no zip is refused."""
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/", "")
        archive.writestr("b/c", "22")
        archive.writestr("a", "1")
    assert [(file.path, file.size_bytes) for file in listing.of_zip(path)] == [("a", 1), ("b/c", 2)]
    path.write_bytes(b"no zip")
    with pytest.raises(UsageError, match="is no zip"):
        listing.of_zip(path)


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    """Between looking for files and reading them."""
    files = bundle.collect(write(tmp_path, a="1"))
    (tmp_path / "a").unlink()
    with pytest.raises(UsageError, match="a cannot be read"):
        listing.of_files(files)
