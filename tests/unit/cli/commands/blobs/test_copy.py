"""`koco blobs copy`, between directories and a bucket."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import object_storage
from tests.support.object_storage import BUCKET, Storage
from tests.unit.conftest import Cli


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with object_storage.serving(tmp_path) as storage:
        for name, value in storage.variables.items():
            monkeypatch.setenv(name, value)
        yield storage


def fill(folder: Path, *contents: bytes) -> list[str]:
    names = [hashlib.sha256(each).hexdigest() for each in contents]
    for name, content in zip(names, contents, strict=True):
        (folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (folder / name[:2] / name).write_bytes(content)
    return sorted(names)


def found(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("??/*")}


def test_copies_there_and_back(cli: Cli, storage: Storage, tmp_path: Path) -> None:
    """Into a bucket and back into a directory: everything, unchanged."""
    source, back = tmp_path / "source", tmp_path / "back"
    names = fill(source, b"one", b"two", b"", b"x" * 1_000_000)
    ran = cli("blobs", "copy", "--from", str(source), "--to", f"s3://{BUCKET}/koco/")
    assert ran.code == 0, ran.err
    assert ran.out == f"s3://{BUCKET}/koco at {storage.variables['AWS_ENDPOINT_URL']}\n"
    assert "copied 4 blobs" in ran.err
    assert [each[-64:] for each in storage.objects()] == names
    ran = cli("blobs", "copy", "--from", f"s3://{BUCKET}/koco", "--to", str(back), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["copied"] == 4
    assert found(back) == found(source)


def test_goes_on_where_it_was_interrupted(cli: Cli, storage: Storage, tmp_path: Path) -> None:
    """What is there already is left out."""
    source = tmp_path / "source"
    fill(source, b"one")
    to = ("--to", f"s3://{BUCKET}")
    assert cli("blobs", "copy", "--from", str(source), *to).code == 0
    fill(source, b"two", b"three")
    ran = cli("blobs", "copy", "--from", str(source), *to, "--json")
    assert {k: json.loads(ran.out)[k] for k in ("copied", "present")} == {"copied": 2, "present": 1}


def test_refuses_what_is_damaged(cli: Cli, tmp_path: Path) -> None:
    """It is named, and does not get into the copy."""
    source, target = tmp_path / "source", tmp_path / "target"
    [name] = fill(source, b"one")
    (source / name[:2] / name).write_bytes(b"two")
    ran = cli("blobs", "copy", "--from", str(source), "--to", str(target))
    assert (ran.code, name in ran.err, "is damaged" in ran.err) == (1, True, True)
    assert found(target) == {}


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nowhere", "target", "there are no blobs in"),
        (".", "s3://k:s@bucket/x", "no keys"),
        ("gs://bucket/x", "target", "gs://"),
    ],
)
def test_refuses_other_places(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, said: str
) -> None:
    """With exit code 2 and a hint."""
    monkeypatch.chdir(tmp_path)
    ran = cli("blobs", "copy", "--from", source, "--to", target)
    assert (ran.code, said in ran.err, "hint:" in ran.err) == (2, True, True), ran.err
