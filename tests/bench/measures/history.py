"""A store that has seen a million executions: do lists, searches and status stay as fast?"""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from koco.events import line
from koco.events.model import Kind
from koco.store.engine.sqlite.connection import connect
from koco.store.executions import search
from tests.bench.measures import Bench
from tests.bench.meters import Spread, samples_ms
from tests.bench.report import Row
from tests.bench.wire import Wire

_COUNT = 1_000_000
#: One execution every eight seconds: a good three months.
_EVERY_S = 8.0
#: How many are inserted in one transaction: the control plane commits, too.
_PIECE = 2_000

_FAR_PAST = "/v1/executions?since={since}&until={until}"
#: What everybody's lists are asked for, with their bars (ms, p99).
_ASKED = {
    "newest": ("/v1/executions", 10),
    "far back": (f"/v1/executions?cursor={_COUNT // 2}", 10),
    "one status": ("/v1/executions?status=error", 10),
    "a rare status": ("/v1/executions?status=cancelled", 10),
    "one flow, one status": ("/v1/executions?flow=one/trivial&status=error", 10),
    "a service": ("/v1/executions?service=one", 10),
    "a user": ("/v1/executions?user=bob", 10),
    "a user, one status": ("/v1/executions?user=bob&status=error", 10),
    "a user of few": ("/v1/executions?user=rare", 10),
    "a tag": ("/v1/executions?tag=daily", 10),
    "two tags": ("/v1/executions?tag=daily&tag=special", 10),
    "a tag, a user": ("/v1/executions?tag=daily&user=bob", 10),
    "a day long past": (_FAR_PAST, 10),
    "a day long past, a user": (f"{_FAR_PAST}&user=bob", 10),
    "search, a rare word": ("/v1/executions?search=needle", 100),
    "search, a common word": ("/v1/executions?search=report", 100),
    "search, two common words": ("/v1/executions?search=report+done", 100),
    "search, two that never meet": ("/v1/executions?search=even+odd", 100),
    "search, a phrase": ("/v1/executions?search=%22all+done+odd%22", 100),
    "search, the beginning of a word": ("/v1/executions?search=need*", 100),
    "search, a word, one status": ("/v1/executions?search=report&status=error", 100),
    "changes, the first": ("/v1/changes", 10),
    "one by its fid": (f"/v1/executions/bench{_COUNT // 2:011d}", 10),
    "status": ("/v1/status", 5),
}
#: What keys that see less are asked for.
_OWN = {
    "own few": "/v1/executions",
    "own few, one status": "/v1/executions?status=error",
    "own few, search": "/v1/executions?search=report",
}


def million(bench: Bench) -> Iterator[Row]:
    """Fill the store by script (`--full` only), then ask."""
    if not bench.full:
        return
    plane, count = bench.plane, bench.some(500)
    bench.service("one")
    now_s = time.time()
    path = plane.wire.json("GET", "/v1/status")["store"]["path"]
    fill(path, now_s)
    began = time.monotonic()
    index(path)
    yield Row(
        name="history",
        measure="executions made searchable, by themselves",
        value=_COUNT / (time.monotonic() - began),
        unit="/s",
    )
    past_s = now_s - _COUNT * _EVERY_S / 2
    day = {"since": line.timestamp(past_s), "until": line.timestamp(past_s + 86_400)}
    with plane.connect() as wire:
        for what, (asked, bar) in _ASKED.items():
            yield _row(what, wire, asked.format(**day), count, bar=bar)
    few: dict[str, Any] = {"name": "rare", "scopes": ["read"]}
    own = plane.wire.json("POST", "/v1/keys", few)["secret"]
    some = {"name": "glob", "scopes": ["read"], "flows": ["two/*"], "all_executions": True}
    glob = plane.wire.json("POST", "/v1/keys", some)["secret"]
    with Wire(plane.url, own) as wire:
        for what, asked in _OWN.items():
            yield _row(what, wire, asked, count, bar=100 if "search" in what else 10)
    with Wire(plane.url, glob) as wire:
        yield _row("flows of a pattern", wire, "/v1/executions", count, bar=10)


def _row(what: str, wire: Wire, path: str, count: int, *, bar: float) -> Row:
    spread = Spread.of(samples_ms(count, lambda: wire.request("GET", path)))
    return Row(
        name="history",
        measure=f"1,000,000 executions stored: {what}, p99",
        value=spread.p99,
        unit="ms",
        bar=bar,
        more={"p50": spread.p50},
    )


def fill(path: str, now_s: float, *, count: int = _COUNT, prefix: str = "bench") -> None:
    """Insert executions as they are when all is over, beside the control plane's own writer.

    Their fids begin with `prefix`, of five characters.
    """
    rng = random.Random(5)
    words = [f"w{number:x}" for number in range(20_000)]
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    for first in range(0, count, _PIECE):
        numbers = range(first, first + _PIECE)
        texts = [
            " ".join(words[int(rng.random() ** 3 * 20_000)] for _ in range(8)) for _ in numbers
        ]
        db.execute("BEGIN IMMEDIATE")
        start = db.execute("SELECT coalesce(max(id), 0) + 1 FROM executions").fetchone()[0]
        db.executemany(
            "INSERT INTO executions (id, fid, flow, service, release, status, inputs, user, tags,"
            " created, started, finished, last_seq, outcome_seq, error)"
            " VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, 2, 1, ?)",
            [
                _execution(
                    start + at, f"{prefix}{number:011d}", text, now_s - (count - number) * _EVERY_S
                )
                for at, (number, text) in enumerate(zip(numbers, texts, strict=True))
            ],
        )
        db.executemany(
            "INSERT INTO chunks (execution, first, last, body) VALUES (?, 1, 2, ?)",
            [(start + at, _events(number)) for at, number in enumerate(numbers)],
        )
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def _execution(id_: int, fid: str, text: str, created_s: float) -> tuple[Any, ...]:
    created, number = line.timestamp(created_s), int(fid[5:])
    status = "cancelled" if number % 10_000 == 0 else "error" if number % 10 == 0 else "finished"
    user = "rare" if number % 25_000 == 3 else "ada" if number % 3 else "bob"
    service = "two" if number % 50_000 == 4 else "one"
    tags = ["daily"] * (number % 4 == 0) + ["special"] * (number % 30_000 == 1)
    topic = "needle" if number % 50_000 == 7 else "hay"
    inputs = {"topic": f"report {topic}", "customer": number % 977, "note": text}
    error = {"type": "ValueError", "message": f"no such customer {number}"}
    return (
        id_,
        fid,
        f"{service}/trivial",
        service,
        status,
        line.encode_payload(inputs).decode(),
        user,
        line.encode_payload(tags).decode(),
        *(created, created, created),
        line.encode_payload(error).decode() if status == "error" else None,
    )


def _events(number: int) -> bytes:
    text = f"all done {'even' if number % 2 else 'odd'}"
    final = line.encode(Kind.FINAL, {"answer": number, "text": text})
    return final + b"\n" + line.encode(Kind.STATUS, {"status": "finished"})


def index(path: str) -> None:
    """Make all of it searchable, as the control plane does, but without pauses."""
    db = connect(Path(path))
    db.execute("PRAGMA busy_timeout = 60000")
    while piece := search.gather(db):
        db.execute("BEGIN IMMEDIATE")
        search.enter(db, piece)
        db.execute("COMMIT")
    db.close()
