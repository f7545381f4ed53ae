"""A store that has seen a million executions: do lists and status stay as fast?"""

import sqlite3
from collections.abc import Iterator

from koco.events import line
from tests.bench.measures import Bench
from tests.bench.meters import Spread, samples_ms
from tests.bench.report import Row

_COUNT = 1_000_000


def million(bench: Bench) -> Iterator[Row]:
    """Fill the store by script (`--full` only), then ask."""
    if not bench.full:
        return
    plane, count = bench.plane, bench.some(500)
    bench.service("one")
    store = plane.wire.json("GET", "/v1/status")["store"]["path"]
    _fill(store)
    pages = {
        "list of 50, newest": "/v1/executions?limit=50",
        "list of 50, one flow, one status": "/v1/executions?flow=one/trivial&status=error",
        "list of 50, far back": f"/v1/executions?cursor={_COUNT // 2}",
        "one by its fid": f"/v1/executions/bench{_COUNT // 2:011d}",
    }
    with plane.connect() as wire:
        for what, path in pages.items():
            spread = Spread.of(samples_ms(count, lambda path=path: wire.request("GET", path)))
            yield _row(f"{what}, p99", spread, bar=10)
        spread = Spread.of(samples_ms(count, lambda: wire.request("GET", "/v1/status")))
        yield _row("status, p99", spread, bar=5)


def _row(what: str, spread: Spread, *, bar: float) -> Row:
    return Row(
        name="history",
        measure=f"1,000,000 executions stored: {what}",
        value=spread.p99,
        unit="ms",
        bar=bar,
        more={"p50": spread.p50},
    )


def _fill(path: str) -> None:
    """Insert executions as they are when all is over, beside the control plane's own writer."""
    now = line.timestamp()
    rows = (
        (f"bench{number:011d}", "error" if number % 10 == 0 else "finished", now, now, now)
        for number in range(_COUNT)
    )
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("BEGIN IMMEDIATE")
    db.executemany(
        "INSERT INTO executions (fid, flow, service, release, status, inputs, user, tags,"
        " created, started, finished, last_seq)"
        " VALUES (?, 'one/trivial', 'one', 1, ?, '{}', 'admin', '[]', ?, ?, ?, 7)",
        rows,
    )
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
