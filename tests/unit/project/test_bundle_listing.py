"""Listings of bundles, which anybody may have made."""

import zipfile
from pathlib import Path

import pytest

from koco.errors import UsageError
from koco.project import bundle_listing


def test_a_bundle_made_by_others_is_listed(tmp_path: Path) -> None:
    """In any order, with folders, without a marker; what is no zip is refused."""
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/", "")
        archive.writestr("b/c", "22")
        archive.writestr("a", "1")
    assert [(file.path, file.size_bytes) for file in bundle_listing.of_zip(path)] == [
        ("a", 1),
        ("b/c", 2),
    ]
    path.write_bytes(b"no zip")
    with pytest.raises(UsageError, match="cannot be read: File is not a zip file"):
        bundle_listing.of_zip(path)


#: Bytes to change in a zip's entry for its file, by their place in it.
ODD = {
    "of a version to come": {6: 99},
    "encrypted": {8: 0x01},
    "patched": {8: 0x20},
    "compressed in an unknown way": {10: 99},
    "with another checksum": {16: 0, 17: 0},
    "with its content elsewhere": {42: 9},
    "with a name that is not UTF-8": {9: 0x08, 46: 0xFF},
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
        bundle_listing.of_zip(path)
