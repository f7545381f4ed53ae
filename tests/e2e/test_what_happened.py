"""What users see of executions: progress, errors, and what they used, with real processes."""

import csv
import io
from typing import Any

import pytest

from tests.support.driver import Koco, eventually

CODE = """
    import asyncio
    import os
    import time
    from pathlib import Path

    import koco
    import ray

    def burn(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    @ray.remote
    def part(number):
        return number

    async def report(tracer, marker: str):
        for page in range(3):
            await tracer.progress(page, 4, f"page {page}")
        while not Path(marker).exists():
            await asyncio.sleep(0.05)
        await asyncio.gather(*(koco.remote(part).remote(number) for number in range(5)))
        tracer.progress_sync(4, 4)
        return "done"

    def title(page: dict):
        return page["title"]

    def broken():
        return title({})

    async def twice(tracer, marker: str):
        burn(0.6)
        for _ in range(6):
            await asyncio.sleep(0.5)
            await tracer.debug("still here")
        if not Path(marker).exists():
            Path(marker).touch()
            os._exit(7)
"""


@pytest.fixture(scope="module")
def pages(koco: Koco) -> Koco:
    """A service whose flows report, fail, and die once."""
    flows: list[dict[str, Any]] = [
        {"name": name, "entrypoint": f"pages_app:{name}"} for name in ("report", "broken", "twice")
    ]
    flows[2]["limits"] = {"retries": 1}
    return koco.deploy("pages", CODE, flows=flows)


def test_progress_is_in_lists_while_it_runs(pages: Koco) -> None:
    """The last one; the stream has all of them."""
    marker = pages.root / "go"
    fid = pages.launch("report", marker=str(marker))
    eventually(lambda: pages.run("show", fid, "--json").json()["progress"])
    told = pages.run("show", fid, "--json").json()["progress"]
    assert told == {"done": 2, "total": 4, "message": "page 2"}
    listed = pages.run("ps", "--format", "fid,progress").ok().out
    assert f"{fid}\t2/4 (50%) page 2" in listed
    marker.touch()
    first, *_, last, result = pages.run("logs", "-f", fid).ok().out.splitlines()
    assert first == "progress: 0/4 (0%) page 0"
    assert (last, result) == ("progress: 4/4 (100%)", "done")
    used = pages.run("show", fid, "--json").json()["used"]
    assert used["ray_tasks"] == 5
    assert used["peak_memory_bytes"] > 10_000_000 and used["wall_s"] > 0 < used["cpu_s"]


def test_yesterdays_failures_are_found_and_understood(pages: Koco) -> None:
    """In one command each: what failed, and where."""
    fid = pages.launch("broken")
    assert pages.run("wait", fid).code == 1
    out = pages.run("ps", "--status", "error", "--since", "yesterday", "--csv").ok().out
    found = {row["fid"]: row["error"] for row in csv.DictReader(io.StringIO(out))}
    assert found[fid] == "KeyError: 'title'"
    first, place, *_ = pages.run("show", fid).ok().out.splitlines()
    assert first == "error     KeyError: 'title'"
    assert 'in title: return page["title"]' in place


def test_what_attempts_used_is_added_up(pages: Koco) -> None:
    """Also that of an attempt whose process died, as far as it had told."""
    fid = pages.launch("twice", marker=str(pages.root / "died"))
    assert pages.run("wait", fid).code == 0
    execution = pages.run("show", fid, "--json").json()
    assert execution["attempt"] == 2
    assert execution["used"]["cpu_s"] > 1.1
    assert execution["used"]["wall_s"] > 5
    [row] = [
        row
        for row in pages.run("usage", "--by", "service", "--json").json()["items"]
        if row["service"] == "pages"
    ]
    assert row["cpu_s"] > 1.1 and row["stored_bytes"] > 1000
