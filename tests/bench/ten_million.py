"""`python -m tests.bench.ten_million`: a store in PostgreSQL that has seen ten million executions.

It makes a server of its own in a temporary folder, fills the tables by SQL, and asks a control
plane over HTTP. It takes some fifteen minutes and 20 GB of disk. With `--data DIR`, the server's
folder is kept there, and filled only once.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from koco.store.engine.postgres import schema
from koco.store.engine.postgres.connection import connect
from tests.bench.meters import Spread, samples_ms
from tests.bench.plane import Plane, temporary
from tests.bench.report import Row, table
from tests.bench.wire import Wire
from tests.support import postgres
from tests.support.postgres import Server

_COUNT = 10_000_000
#: One execution every eight seconds: two and a half years.
_EVERY_S = 8
#: The bar for every question (ms, p99).
_BAR_MS = 20
#: A small server for so much. Only the filling profits from `wal_level` and what follows it.
_SETTINGS = {
    **postgres.SETTINGS,
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "fsync": "on",
    "full_page_writes": "on",
}

_TEXT = """to_char(timestamptz '2026-06-01Z' - (:count - n) * interval '8 s',
    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
#: What an execution is, by its number: as in `measures.history`, in more services.
_EXECUTIONS = """
    INSERT INTO executions (id, fid, flow, service, release, status, inputs, "user", tags, created,
        started, finished, last_seq, outcome_seq, error)
    SELECT n, left(md5(n::text), 16), service || '/trivial', service, 1, status,
        json_build_object('topic', 'report ' || CASE WHEN n % 50000 = 7 THEN 'needle' ELSE 'hay'
            END, 'customer', n % 977, 'note', (
                SELECT string_agg('w' || to_hex((power(random(), 3) * 20000)::int), ' ')
                FROM generate_series(1, 8) WHERE n > 0))::text,
        CASE WHEN n % 25000 = 3 THEN 'rare' WHEN n % 3 = 0 THEN 'bob'
            WHEN n % 7 = 0 THEN 'user' || n % 1000 ELSE 'ada' END,
        CASE WHEN n % 30000 = 1 THEN '["special"]' WHEN n % 60000 = 16 THEN '["daily","special"]'
            WHEN n % 4 = 0 THEN '["daily"]' ELSE '[]' END,
        created, created, created, 2, 1,
        CASE WHEN status = 'error' THEN json_build_object('type', 'ValueError', 'message',
            'no such customer ' || n)::text END
    FROM generate_series(1, :count) AS n,
        LATERAL (SELECT :created AS created,
            CASE WHEN n % 50000 = 4 THEN 'two' WHEN n % 5 = 0 THEN 'svc' || n % 40 ELSE 'one' END
                AS service,
            CASE WHEN n % 10000 = 0 THEN 'cancelled' WHEN n % 10 = 0 THEN 'error'
                ELSE 'finished' END AS status) AS each
"""
_CHUNKS = r"""
    INSERT INTO chunks (execution, first, last, body)
    SELECT n, 1, 2, convert_to('"ts":"' || at || '","kind":"final","payload":{"answer":' || n
        || ',"text":"all done ' || CASE WHEN n % 2 = 1 THEN 'even' ELSE 'odd' END || E'"}}\n"ts":"'
        || at || '","kind":"status","payload":{"status":"finished"}}', 'UTF8')
    FROM generate_series(1, :count) AS n, LATERAL (SELECT :created AS at) AS each
"""
#: What triggers and the indexing of texts would have made, a hundred times as fast.
_DERIVED = (
    "INSERT INTO tallies SELECT status, count(*) FROM executions GROUP BY 1",
    "INSERT INTO spans SELECT id / 1000, min(created), max(created) FROM executions GROUP BY 1",
    "INSERT INTO tags SELECT tag, id FROM executions, tags_of(tags) AS tag WHERE tags <> '[]'",
    # Each has changed three times.
    "INSERT INTO changes (seq, execution) SELECT 3 * id, id FROM executions",
    "SELECT setval(pg_get_serial_sequence('koco.changes', 'seq'), 3 * :count + 1, false)",
    "UPDATE indexed SET upto = 3 * :count, above = 0",
    """INSERT INTO search SELECT id, to_tsvector('simple', translate(concat_ws(' ', inputs,
        CASE WHEN status = 'finished' THEN 'answer ' || id || ' text all done ' ||
            CASE WHEN id % 2 = 1 THEN 'even' ELSE 'odd' END ELSE error END), '"{}:,', '     '))
        || array_to_tsvector(ARRAY['@' || (id >> 14), '@@' || (id >> 19)]) FROM executions""",
)


def main() -> int:
    """Return 0, or 1 where a bar is missed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ten_million", description=__doc__)
    parser.add_argument("--count", type=int, default=_COUNT)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--data", type=Path, help="keep the server's folder here")
    parser.add_argument("--fill", action="store_true", help="only fill it")
    options = parser.parse_args()
    server = Server(_SETTINGS, folder=options.data)
    try:
        fill(server, options.count)
        if options.fill:
            return 0
        rows = list(_rows(server, options.count, options.samples))
    finally:
        if options.data:
            server.stop(signal.SIGINT)
        else:
            server.remove()
    print(table(rows))
    print(f"load {os.getloadavg()[0]:.1f}")
    return int(any(row.reaches_bar is False for row in rows))


def fill(server: Server, count: int) -> None:
    """Fill the database `full`, unless it is."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as db:
        if db.execute("SELECT 1 FROM pg_database WHERE datname = 'full'").fetchone():
            return
        db.execute("CREATE DATABASE filling")
    db = connect(server.url("filling"))
    schema.migrate(db)
    raw = db.raw
    raw.execute("SET session_replication_role TO replica")  # no triggers
    raw.execute("SET work_mem TO '256MB'")
    tables = ("executions", "chunks", "tallies", "spans", "tags", "changes", "search")
    indexes = raw.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'koco' AND tablename ="
        " ANY(%s) AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        (list(tables),),
    ).fetchall()
    values = {"count": str(count), "created": _TEXT.replace(":count", str(count))}
    with raw.transaction():
        # New files, which are written without the log.
        raw.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        for name, _ in indexes:
            raw.execute(f"DROP INDEX {name}")
        for each in (_EXECUTIONS, _CHUNKS, *_DERIVED):
            sql = each
            for name, value in values.items():
                sql = sql.replace(f":{name}", value)
            _step(raw, sql)
    for _, definition in indexes:
        _step(raw, definition)
    _step(raw, "VACUUM ANALYZE")
    db.close()
    server.execute('ALTER DATABASE filling RENAME TO "full"')


def _step(raw: Any, sql: str) -> None:
    began = time.monotonic()
    raw.execute(sql)
    print(f"{time.monotonic() - began:6.1f} s  {' '.join(sql.split())[:90]}", file=sys.stderr)


def _rows(server: Server, count: int, samples: int) -> Iterator[Row]:
    with connect(server.url("full")).raw as raw:
        [(size, fid)] = raw.execute(
            "SELECT pg_database_size(current_database()), (SELECT fid FROM executions"
            " WHERE id = %s)",
            (count // 2,),
        ).fetchall()
    yield Row(name="size", measure="size of the database", value=size / 1e9, unit="GB")
    with temporary() as root, _up(root, server.url("full")) as plane:
        few = {"name": "rare", "scopes": ["read"]}
        for name in ("rare", "glob"):
            with contextlib.suppress(RuntimeError):  # there is none, unless it ran before
                plane.wire.request("DELETE", f"/v1/keys/{name}")
        own = plane.wire.json("POST", "/v1/keys", few)["secret"]
        some = {"name": "glob", "scopes": ["read"], "flows": ["two/*"], "all_executions": True}
        glob = plane.wire.json("POST", "/v1/keys", some)["secret"]
        for key, asked in ((plane.key, _asked(count, fid)), (own, _OWN), (glob, _OF_PATTERN)):
            with Wire(plane.url, key) as wire:
                yield from (_row(what, wire, path, samples) for what, path in asked.items())


def _row(what: str, wire: Wire, path: str, samples: int) -> Row:
    spread = Spread.of(samples_ms(samples, lambda: wire.request("GET", path)))
    print(f"{spread.p50:8.2f} {spread.p99:8.2f} ms  {what}", file=sys.stderr, flush=True)
    return Row(
        name="history",
        measure=f"{what}, p99",
        value=spread.p99,
        unit="ms",
        bar=None if "never" in what else _BAR_MS,
        more={"p50": spread.p50},
    )


@contextlib.contextmanager
def _up(root: Path, store: str) -> Iterator[Plane]:
    plane = Plane(root, store=store)
    plane.up()
    try:
        yield plane
    finally:
        plane.down()


_OWN = {
    "own few": "/v1/executions",
    "own few, one status": "/v1/executions?status=error",
    "own few, search": "/v1/executions?search=report",
    "own few, changes": "/v1/changes",
}
_OF_PATTERN = {"flows of a pattern": "/v1/executions"}


def _asked(count: int, fid: str) -> dict[str, str]:
    past = "since=2025-01-01T00:00:00Z&until=2025-01-02T00:00:00Z"
    return {
        "newest": "/v1/executions",
        "newest, 200": "/v1/executions?limit=200",
        "far back": f"/v1/executions?cursor={count // 2}",
        "the oldest": "/v1/executions?cursor=51",
        "one status": "/v1/executions?status=error",
        "one status, far back": f"/v1/executions?status=error&cursor={count // 2}",
        "a rare status": "/v1/executions?status=cancelled",
        "open ones": "/v1/executions?active=1",
        "one flow, one status": "/v1/executions?flow=one/trivial&status=error",
        "a service": "/v1/executions?service=svc5",
        "a user": "/v1/executions?user=bob",
        "a user, one status": "/v1/executions?user=bob&status=error",
        "a user, far back": f"/v1/executions?user=bob&cursor={count // 2}",
        "a user of few": "/v1/executions?user=rare",
        "a user, a service": "/v1/executions?user=bob&service=svc5",
        "a tag": "/v1/executions?tag=daily",
        "two tags": "/v1/executions?tag=daily&tag=special",
        "a tag, a user": "/v1/executions?tag=daily&user=bob",
        "a day long past": f"/v1/executions?{past}",
        "a day long past, a user": f"/v1/executions?{past}&user=bob",
        "search, a rare word": "/v1/executions?search=needle",
        "search, a common word": "/v1/executions?search=report",
        "search, two common words": "/v1/executions?search=report+done",
        "search, a phrase": "/v1/executions?search=%22all+done+odd%22",
        "search, the beginning of a word": "/v1/executions?search=need*",
        "search, a word, one status": "/v1/executions?search=report&status=error",
        "search, a middling word": "/v1/executions?search=w1000",
        "search, two that never meet": "/v1/executions?search=even+odd",
        "changes, the first": "/v1/changes",
        "changes, far back": f"/v1/changes?since={3 * count // 2}",
        "changes, the latest": f"/v1/changes?since={3 * count - 150}",
        "one by its fid": f"/v1/executions/{fid}",
        "one by the beginning of its fid": f"/v1/executions/{fid[:10]}",
        "its events": f"/v1/executions/{fid}/events",
        "status": "/v1/status",
    }


if __name__ == "__main__":
    sys.exit(main())
