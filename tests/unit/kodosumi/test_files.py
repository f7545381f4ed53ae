"""Kodosumi's files: their entries, the names of copies, and streams that are open or closed."""

import asyncio
from pathlib import Path

import pytest

from koco.kodosumi import files
from koco.kodosumi.core import TracerMock

GIVEN = {"in/a.txt": b"A", "in/docs/b.txt": b"BB", "in/docs/deep/c.txt": b"CCC"}


@pytest.fixture
def tracer() -> TracerMock:
    return TracerMock(dict(GIVEN))


def test_entries_have_size_and_last_modified(tracer: TracerMock) -> None:
    """And nothing else, so that code which prints or validates them works."""
    with tracer.fs_sync() as fs:
        listed = fs.ls("/in/")
        assert [entry["path"] for entry in listed] == sorted(GIVEN)
        assert [entry["size"] for entry in listed] == [1, 2, 3]
        assert all(set(entry) == {"path", "size", "last_modified"} for entry in listed)
        assert isinstance(listed[0]["last_modified"], float)
        assert len(fs.ls()) == 3
        assert [entry["path"] for entry in fs.ls("in/docs")] == sorted(GIVEN)[1:]
        assert fs.ls("out") == []


def test_missing_files_and_wrong_roots(tracer: TracerMock) -> None:
    """`FileNotFoundError` and `ValueError`, as in Kodosumi."""
    with tracer.fs_sync() as fs:
        with pytest.raises(FileNotFoundError):
            fs.ls("in/none")
        with pytest.raises(FileNotFoundError):
            fs.remove("out/none")
        with pytest.raises(FileNotFoundError):
            list(fs.download("in/none"))
        with pytest.raises(ValueError):
            fs.ls("tmp")


def test_removes_files_and_folders(tracer: TracerMock) -> None:
    """And returns True."""
    with tracer.fs_sync() as fs:
        assert fs.remove("in/docs") is True
        assert [entry["path"] for entry in fs.ls()] == ["in/a.txt"]
        assert fs.open("in/a.txt").remove() is True
        assert tracer.files == {}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("in", ["a.txt", "docs/b.txt", "docs/deep/c.txt"]),
        ("in/docs", ["b.txt", "deep/c.txt"]),
        ("in/docs/b.txt", ["b.txt"]),
    ],
)
def test_downloads_are_named_relative_to_what_was_asked(
    tracer: TracerMock, path: str, names: list[str]
) -> None:
    """Without the folder's own name; and they stay after `close`, until the execution ends."""
    with tracer.fs_sync() as fs:
        found = [Path(each) for each in fs.download(path)]
    assert sorted(str(each.relative_to(_folder(each))) for each in found) == names
    assert found[0].is_file()
    files.remove_downloads(tracer.fid)
    assert not found[0].exists()


def _folder(path: Path) -> Path:
    return next(each for each in path.parents if each.name.startswith("kodosumi-"))


def test_uploads_leave_out_the_folders_name(tracer: TracerMock, tmp_path: Path) -> None:
    """The id of the batch is text; nothing to upload gives None."""
    charts = tmp_path / "charts"
    (charts / "deep").mkdir(parents=True)
    with tracer.fs_sync() as fs:
        assert fs.upload(charts) is None
        assert fs.upload(tmp_path / "none") is None
        (charts / "x.png").write_bytes(b"x")
        (charts / "deep" / "y.png").write_bytes(b"y")
        batch = fs.upload(str(charts))
        assert isinstance(batch, str) and len(batch) == 36
        fs.upload(charts / "x.png")
        assert [entry["path"] for entry in fs.ls("out")] == ["out/deep/y.png", "out/x.png"]


def test_a_stream_is_open_once(tracer: TracerMock) -> None:
    """It reads on where the last reader stopped, and refuses to be opened again."""
    with tracer.fs_sync() as fs:
        with fs.open("in/a.txt") as stream:
            assert next(iter(stream.read())) == b"A"
            assert stream.read_all() == b""
        with pytest.raises(RuntimeError):
            stream.__enter__()
        with pytest.raises(RuntimeError):
            list(stream.read())
        assert fs.open("in/a.txt").read_all() == b"A"
        with pytest.raises(FileNotFoundError), fs.open("in/none"):
            pass
        with pytest.raises(FileNotFoundError):
            fs.open("in/docs").read_all()


def test_the_same_for_coroutines(tracer: TracerMock, tmp_path: Path) -> None:
    """Methods are awaited; `open` and `download` are not."""
    (tmp_path / "r.md").write_text("# R")

    async def run() -> None:
        async with await tracer.fs() as fs:
            assert fs.fid == tracer.fid
            assert len(await fs.ls()) == 3
            async with fs.open("in/docs/b.txt") as stream:
                assert b"".join([piece async for piece in stream.read()]) == b"BB"
            assert await fs.open("in/a.txt").read_all() == b"A"
            with pytest.raises(FileNotFoundError):
                async with fs.open("in/none"):
                    pass
            assert isinstance(await fs.upload(tmp_path / "r.md"), str)
            assert [Path(each).name async for each in fs.download("out")] == ["r.md"]
            assert await fs.remove("in/docs") is True
            assert await fs.open("in/a.txt").remove() is True

    asyncio.run(run())
    files.remove_downloads(tracer.fid)
    assert tracer.files == {"out/r.md": b"# R"}
