"""A hundred thousand executions that are parked: what they cost, and how soon one goes on."""

import hashlib
import random
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench.measures import Bench, durable, history
from tests.bench.measures.deaths import until_healthy
from tests.bench.meters import Memory, Spread, cpu_percent
from tests.bench.plane import Plane
from tests.bench.report import Row

_COUNT = 100_000
#: How many are inserted in one transaction: the control plane commits, too.
_PIECE = 2_000
#: How long the CPU is looked at (seconds).
_LOOK_S = 10.0
#: How many of DBOS wait: each takes its process some memory, and 10 ms to begin.
_OTHERS = 1_000


def parked(bench: Bench) -> Iterator[Row]:
    """Park one execution, and copy its rows. Start the control plane again; answer some of them."""
    plane, count = bench.plane, _COUNT // 10 if bench.quick else _COUNT
    bench.service("durable")
    log = plane.root / f"parked-{time.time_ns()}"
    fid = _park(plane, log)
    empty = _restart(plane)
    path = plane.wire.json("GET", "/v1/status")["store"]["path"]
    lids = _copy(path, fid, count)
    history.index(path)
    full = _restart(plane)
    others = durable.dbos(bench, "waiting", bench.some(_OTHERS), 5)
    yield _row(
        f"{count:,} parked executions: memory more of the control plane, RSS",
        full.memory_mb - empty.memory_mb,
        "MB",
        bar=50,
        more={f"DBOS on SQLite, {bench.some(_OTHERS):,} that wait": others["mb"]},
    )
    more = {"without them": empty.cpu, "DBOS": others["cpu"]}
    yield _row("  its CPU", full.cpu, "%", bar=2, more=more)
    yield _row("  its start-up", full.took_s, "s", bar=5, more={"without them": empty.took_s})
    spread = Spread.of(_wake(plane, log, lids, bench.some(100)))
    yield _row(
        "  one of them: from the answer to its next step, p50",
        spread.p50,
        "ms",
        bar=100,
        baseline=others["wake_p50"],
        against="DBOS on SQLite, in memory",
        more={"p99": spread.p99},
    )


def _row(measure: str, value: float, unit: str, **more: Any) -> Row:
    return Row(name="parked", measure=measure, value=value, unit=unit, **more)


def _park(plane: Plane, log: Path) -> str:
    """Launch an execution that waits for a person, and wait until it is parked; return its fid."""
    fid = plane.launch(plane.wire, "durable/ask", log=str(log))
    deadline = time.monotonic() + 30
    while not plane.wire.json("GET", f"/v1/executions/{fid}")["parked"]:
        if time.monotonic() > deadline:
            raise TimeoutError("the execution was not parked")
        time.sleep(0.1)
    return fid


@dataclass(frozen=True, slots=True)
class _Started:
    """A control plane that was started again: its start-up (seconds), memory and CPU (percent)."""

    took_s: float
    memory_mb: float
    cpu: float


def _restart(plane: Plane) -> _Started:
    """Kill the control plane; look at the next one once it has nothing to do."""
    psutil.Process(plane.pid()).kill()
    begin = time.perf_counter()
    plane.__dict__.pop("wire", None)  # its connection died with the process
    until_healthy(plane)
    took_s = time.perf_counter() - begin
    time.sleep(5)
    pid = plane.pid()
    cpu = cpu_percent(pid, _LOOK_S)
    return _Started(took_s, Memory.of([psutil.Process(pid)]).rss, cpu)


def _copy(path: str, fid: str, count: int) -> list[tuple[str, str]]:
    """Copy a parked execution's rows, beside the control plane's own writer.

    Every column is copied as it is, apart from ids. Return the copies' fids and lids.
    """
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    rows = _rows(db, fid)
    [lid] = [row["lid"] for row in rows["locks"]]
    assert lid == _lid_of(fid), "locks are no longer named after their place"
    copied = []
    for first in range(0, count, _PIECE):
        db.execute("BEGIN IMMEDIATE")
        [start] = db.execute("SELECT max(id) + 1 FROM executions").fetchone()
        for number in range(min(_PIECE, count - first)):
            new = secrets.token_hex(len(fid) // 2 + 1)[: len(fid)]
            _insert(db, rows, start + number, {fid: new, lid: _lid_of(new)})
            copied.append((new, _lid_of(new)))
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return copied


def _lid_of(fid: str) -> str:
    return hashlib.blake2b(f"{fid}/lock.approval:0".encode(), digest_size=8).hexdigest()


def _rows(db: sqlite3.Connection, fid: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an execution, by table."""

    def select(query: str, *values: Any) -> list[dict[str, Any]]:
        found = db.execute(query, values)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    [execution] = select("SELECT * FROM executions WHERE fid = ?", fid)
    tables = ("chunks", "producers", "locks", "steps", "messages")
    return {
        "executions": [execution],
        **{
            table: select(f"SELECT * FROM {table} WHERE execution = ?", execution["id"])
            for table in tables
        },
    }


def _insert(
    db: sqlite3.Connection,
    rows: dict[str, list[dict[str, Any]]],
    number: int,
    ids: dict[str, str],
) -> None:
    """Insert copies of rows for the execution of this number, with other ids."""
    for table, several in rows.items():
        for row in several:
            new = {name: _replaced(value, ids) for name, value in row.items()}
            if table == "executions":
                new["id"] = number
            else:
                new["execution"] = number
                new.pop("id", None)
            marks = ", ".join("?" * len(new))
            names = ", ".join(f'"{name}"' for name in new)
            db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(new.values()))


def _replaced(value: Any, ids: dict[str, str]) -> Any:
    for old, new in ids.items():
        if isinstance(value, str):
            value = value.replace(old, new)
        elif isinstance(value, bytes):
            value = value.replace(old.encode(), new.encode())
    return value


def _wake(plane: Plane, log: Path, copied: list[tuple[str, str]], count: int) -> list[float]:
    """Answer so many of them, one after another; return how long each next step took (ms)."""
    took = []
    for fid, lid in random.Random(3).sample(copied, count + 5):
        lines = _count(log)
        begin = time.time()
        plane.wire.json("POST", f"/v1/executions/{fid}/locks/{lid}", {"ok": True})
        deadline = time.monotonic() + 30
        while _count(log) == lines:
            if time.monotonic() > deadline:
                raise TimeoutError(f"execution {fid} did not go on")
            time.sleep(0.002)
        last = log.read_text().splitlines()[-1]
        took.append((float(last.split()[2]) - begin) * 1e3)
    # The first ones warm the runners up.
    return took[5:]


def _count(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0
