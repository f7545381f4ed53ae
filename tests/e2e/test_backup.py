"""A backup of a running control plane starts another one, on another machine, that goes on."""

from collections.abc import Iterator

import pytest

from tests.support.driver import Koco, eventually, koco_of_its_own

CODE = """
    import koco

    async def count(inputs: dict, tracer: koco.Tracer):
        from pathlib import Path

        Path("words.txt").write_text("one two")
        async with await tracer.fs() as fs:
            await fs.upload("words.txt")
        return {"words": 2}

    async def ask(tracer: koco.Tracer):
        return await tracer.lock("sure")
"""
FLOWS = [
    {"name": "count", "entrypoint": "words_app:count"},
    {"name": "ask", "entrypoint": "words_app:ask", "durable": True},
]


@pytest.fixture
def other() -> Iterator[Koco]:
    """Another machine: a home without anything."""
    with koco_of_its_own() as koco:
        yield koco


def test_a_restored_control_plane_goes_on(fresh: Koco, other: Koco) -> None:
    """Executions, files and releases are there, what waited goes on, old and new code run."""
    fresh.up()
    locks = {"sure": [{"type": "boolean", "name": "yes", "label": "Yes"}]}
    words = fresh.deploy("words", CODE, flows=FLOWS, locks=locks)
    ended = words.execute("count")
    assert (ended.status, ended.result) == ("finished", {"words": 2})
    waiting = words.launch("ask")
    eventually(lambda: words.get(f"/v1/executions/{waiting}")["status"] == "awaiting")
    file = fresh.root / "koco.backup"
    fresh.run("backup", str(file)).ok()
    running = fresh.run("up", "--restore", str(file))
    assert running.code == 2 and "`koco down` stops it" in running.err
    fresh.run("down").ok()
    there = fresh.run("up", "--restore", str(file))
    assert there.code == 2 and "--replace-store" in there.err

    restored = other.run("up", "--free-ports", "--restore", str(file)).ok()
    assert "its admin key is replaced by a new one" in restored.err
    shown = other.run("show", ended.fid, "--json").ok().json()
    assert (shown["status"], shown["release"]) == ("finished", 1)
    assert other.get_events(ended.fid) == ended.events
    other.run("files", "get", ended.fid, "out/words.txt").ok()
    assert (other.root / "words.txt").read_text() == "one two"
    other.run("answer", waiting, "sure", "-i", "yes=true").ok()
    assert other.events(waiting)[-1]["payload"]["status"] == "finished"
    assert other.execute("words/count").result == {"words": 2}
    other.deploy("words", CODE.replace("2}", "3}"), flows=FLOWS, locks=locks)
    assert other.execute("words/count").result == {"words": 3}
    other.run("rollback", "words").ok()
    assert other.execute("words/count").result == {"words": 2}
