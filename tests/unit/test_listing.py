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
    with pytest.raises(UsageError, match="cannot be read: File is not a zip file"):
        listing.of_zip(path)


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    """Between looking for files and reading them."""
    files = bundle.collect(write(tmp_path, a="1"))
    (tmp_path / "a").unlink()
    with pytest.raises(UsageError, match="a cannot be read"):
        listing.of_files(files)


#: Bytes to change in a zip's entry for its file, by their place in it.
ODD = {
    "of a version to come": {6: 99},
    "encrypted": {8: 0x01},
    "patched": {8: 0x20},
    "compressed in an unknown way": {10: 99},
    "with another checksum": {16: 0, 17: 0},
    "with its content elsewhere": {42: 9},
    "with a name that is no UTF-8": {9: 0x08, 46: 0xFF},
    "with garbage for content": {-12: 0xFF, -11: 0xFF},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_zip_that_cannot_be_read_is_refused(tmp_path: Path, odd: dict[int, int]) -> None:
    """Whatever is wrong with it: whoever may upload a bundle may have made it by hand."""
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", "".join(map(str, range(40))))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    for place, value in odd.items():
        data[entry + place] = value
    data[6:8] = data[entry + 8 : entry + 10]  # its flags stand before the content, too
    path.write_bytes(data)
    with pytest.raises(UsageError, match="the bundle odd cannot be read"):
        listing.of_zip(path)
