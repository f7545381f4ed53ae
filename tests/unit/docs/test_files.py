"""What docs/files.md shows does what it says; files in tests are those of a flow."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koco import testing
from koco.errors import PathError
from tests.support import pages

page = pages.module("files")

FORM = [
    {"type": "file", "name": "report", "required": True},
    {"type": "file", "name": "appendix", "directory": True},
]


def test_the_review_gets_paths() -> None:
    """One for a file, a list for a folder, none for what was left out."""
    files = {"in/report.pdf": b"12345", "in/d/a": b"", "in/d/b": b""}
    inputs = {"report": "in/report.pdf", "appendix": ["in/d/a", "in/d/b"]}
    outcome = testing.run(page.review, inputs, form=FORM, files=files)
    assert outcome.result == {
        "report": "in/report.pdf",
        "characters": 5,
        "drawings": ["in/d/a", "in/d/b"],
    }
    alone = testing.run(page.review, {"report": "in/report.pdf"}, form=FORM, files=files)
    assert alone.result["drawings"] == []


def test_words_are_counted_in_parallel() -> None:
    """In threads here, as in tasks there."""
    files = {"in/a.txt": b"one two", "in/b.txt": b"three"}
    outcome = testing.run(page.words, {"documents": sorted(files)}, files=files)
    assert outcome.result == [2, 1]


def texts(paths: list[str]) -> list[str]:
    return [Path(path).read_text() for path in paths]


def left(paths: list[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


def everything(tracer: Any, folder: str) -> Any:
    with tracer.fs_sync() as fs:
        made = fs.upload(folder)
        local = [*fs.download("in"), *fs.download("out/made")]
        fs.remove("out/made/a")
        kept = texts(local)
        with fs.open("in/x") as file:
            data = b"".join(file.read())
            file.remove()
    return made, kept, data.decode(), left(local)


async def everything_async(tracer: Any, folder: str) -> Any:
    async with await tracer.fs() as fs:
        made = await fs.upload(folder)
        local = [path async for path in fs.download("in")]
        local += [path async for path in fs.download("out/made")]
        await fs.remove("out/made/a")
        kept = texts(local)
        async with fs.open("in/x") as file:
            data = b"".join([piece async for piece in file.read()])
            await file.remove()
    return made, kept, data.decode(), left(local)


@pytest.mark.parametrize("flow", [everything, everything_async])
def test_both_forms_do_the_same(flow: Any, tmp_path: Path) -> None:
    """Up, down, away; downloads are gone with the `with`, changes are events."""
    (tmp_path / "made/b").mkdir(parents=True)
    (tmp_path / "made/a").write_text("A")
    (tmp_path / "made/b/c").write_text("C")
    outcome = testing.run(flow, {"folder": str(tmp_path / "made")}, files={"in/x": b"X"})
    assert outcome.status == "finished", outcome.error
    paths = ["out/made/a", "out/made/b/c"]
    assert outcome.result == [paths, ["X", "A", "C"], "X", []]
    assert outcome.files == {"out/made/b/c": b"C"}
    told = [(each["path"], each.get("removed", False)) for each in outcome.of_kind("upload")]
    assert told == [
        *(("out/made/a", False), ("out/made/b/c", False)),
        *(("out/made/a", True), ("in/x", True)),
    ]


def test_a_link_that_leads_out_is_not_uploaded(tmp_path: Path) -> None:
    """A flow is told, too: what it uploads its user can fetch."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made/link").symlink_to("/etc/passwd")

    def flow(tracer: Any) -> Any:
        with tracer.fs_sync() as fs:
            return fs.upload(tmp_path / "made")

    outcome = testing.run(flow)
    assert "leads out of" in (outcome.error or {})["message"]
    assert outcome.files == {}


def test_files_of_a_test_have_paths_of_files() -> None:
    """A typing error is told, not taken for a file that nobody finds."""
    with pytest.raises(PathError):
        testing.run(page.total, files={"may.csv": b""})


def test_downloads_that_nobody_closed_go_with_the_process() -> None:
    """A flow that forgets `with` fills no disk for ever."""
    code = (
        "from koco import testing\n"
        "files = testing.Tracer({'in/x': b'X'}).fs_sync()\n"
        "print(next(files.download('in/x')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("/in/x")
    assert not Path(done.stdout.strip()).parent.parent.exists()
