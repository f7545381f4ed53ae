"""The control plane's log is read entry by entry, across its files, and followed."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.control import log_file, log_reader
from koco.control.log_reader import Entry, Files, Wanted
from koco.errors import UsageError

log = logging.getLogger("koco.test")


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[log_file.Handler]:
    handler = log_file.write_to(tmp_path / "control.log")
    yield handler
    for name in ("koco", "uvicorn.error"):
        logging.getLogger(name).removeHandler(handler)
    handler.close()


def stored(path: Path, cursor: str | None = None) -> list[Entry]:
    files, found = Files(path, cursor), []
    while entries := files.read():
        found += entries
    files.close()
    return found


def test_entries_have_level_time_request_and_fid(handler: log_file.Handler, tmp_path: Path) -> None:
    """The request is the one that the work was begun for; a traceback belongs to its entry."""
    log.info("hello")
    token = log_file.request.set("0123456789abcdef")
    try:
        raise ValueError("no\n2026-01-31 12:00:00,000 INFO koco.x [-] forged")
    except ValueError:
        log.exception("execution wrq429s8exka3r9k failed (request 0123456789abcdef)")
    log_file.request.reset(token)
    log.warning("[forged] x")
    first, second, third = stored(tmp_path / "control.log")
    assert (first.level, first.logger, first.message) == ("INFO", "koco.test", "hello")
    assert (first.request, first.fid) == (None, None)
    assert (second.level, second.request) == ("ERROR", "0123456789abcdef")
    assert second.fid == "wrq429s8exka3r9k"
    assert second.message.splitlines()[1].startswith("Traceback")
    assert (third.message, third.request) == ("[forged] x", None)
    assert first.ts <= second.ts <= third.ts and first.ts.endswith("Z")


def test_goes_on_in_the_next_file(handler: log_file.Handler, tmp_path: Path) -> None:
    """From a cursor on, also if the log was rotated meanwhile: no entry is lost or repeated."""
    path = tmp_path / "control.log"
    log.info("one")
    [one] = stored(path)
    log.info("two")
    handler.doRollover()
    log.info("three")
    assert [each.message for each in stored(path, one.cursor)] == ["two", "three"]
    assert [each.message for each in stored(path)] == ["one", "two", "three"]
    assert stored(path, stored(path)[-1].cursor) == []
    for _ in range(4):
        handler.doRollover()
    log.info("four")
    assert [each.message for each in stored(path, one.cursor)] == ["four"]
    with pytest.raises(UsageError):
        stored(path, "nonsense")


def test_large_logs_come_in_pieces(handler: log_file.Handler, tmp_path: Path) -> None:
    """Whole entries, whatever their size."""
    texts = [f"{number} " + "x" * (number % 7) * 20_000 for number in range(60)] + ["y" * 400_000]
    for text in texts:
        log.info(text)
    assert [each.message for each in stored(tmp_path / "control.log")][:60] == texts[:60]


def test_an_entry_longer_than_a_piece_is_shortened(
    handler: log_file.Handler, tmp_path: Path
) -> None:
    """Its first lines are there, also if nothing follows it, and so is the entry after it."""
    log.info("\n".join(["z" * 100] * 4000))
    [long] = stored(tmp_path / "control.log")
    assert len(long.message) > 200_000 and set(long.message) == {"z", "\n"}
    log.info("after")
    assert [each.message for each in stored(tmp_path / "control.log")] == [long.message, "after"]
    assert [each.message for each in stored(tmp_path / "control.log", long.cursor)] == ["after"]


def test_a_follower_gets_what_is_written(handler: log_file.Handler, tmp_path: Path) -> None:
    """After the last ones of what was there; only from the level on."""

    async def main() -> list[str]:
        found: list[str] = []
        wanted = Wanted("WARNING", tail=1)
        reading = log_reader.read(
            tmp_path / "control.log", wanted, cursor=None, follow=True, heartbeat_s=5
        )
        async for entries in reading:
            found += [each.message for each in entries]
            if found == ["b"]:
                log.info("c")
                log.warning("d")
            if "d" in found:
                break
        await reading.aclose()
        return found

    log.warning("a")
    log.warning("b")
    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["b", "d"]
    assert not log_file.followers


def test_an_entry_of_older_koco_is_read(tmp_path: Path) -> None:
    """It names no request."""
    path = tmp_path / "control.log"
    path.write_text("2026-01-31 12:00:00,123 INFO koco.control.process starting\n")
    [entry] = stored(path)
    assert (entry.message, entry.request) == ("starting", None)
    assert ":00.123" in entry.ts
