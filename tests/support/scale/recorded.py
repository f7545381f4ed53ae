"""The whole history of a storm: what PostgreSQL has, what the API tells, and what others saw."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.scale.cluster import Cluster
from tests.support.scale.front import BROKEN, Client, Front

#: How many executions the API is asked for at once: all, and with their events.
_PAGE, _STREAM = 1000, 500

_ROWS = """
    SELECT fid, id, flow, status, key, parent, last_seq, attempt, resumed, moves,
        finished IS NOT NULL, error FROM koco.executions WHERE service <> '' ORDER BY id
"""
_CHUNKS = "SELECT execution, first, last, body FROM koco.chunks ORDER BY execution, last"
_TALLIES = "SELECT status, count FROM koco.tallies WHERE count <> 0"
_CHANGES = "SELECT execution FROM koco.changes WHERE fid IS NULL"
#: What must not be there once all has ended.
_LEFT = {
    "open waits": "SELECT count(*) FROM koco.steps WHERE status = 'waiting'",
    "unfinished steps": "SELECT count(*) FROM koco.steps WHERE status IN ('running', 'retrying')",
    "open locks": "SELECT count(*) FROM koco.locks WHERE status = 'open'",
    "parked executions": "SELECT count(*) FROM koco.executions WHERE parked <> 0",
    "proofs": "SELECT count(*) FROM koco.executions WHERE service = ''",
}


@dataclass
class Recorded:
    """An execution and its events, as they are in the store."""

    fid: str
    id: int
    flow: str
    status: str
    key: str | None
    parent: str | None = None
    last_seq: int = 0
    attempt: int = 1
    resumed: int = 0
    moves: int = 0
    has_ended: bool = True
    error: str | None = None
    lines: list[bytes] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass
class History:
    """Everything that is known of a storm."""

    executions: dict[str, Recorded] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)
    #: How often each execution is among the changes, by its id.
    changes: Counter[int] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)
    #: What the API tells: the statuses in its list, and the events.
    told: list[tuple[str, str]] = field(default_factory=list)
    events: dict[str, list[bytes]] = field(default_factory=dict)
    #: What clients know: fids by key, statuses by fid, lines by fid.
    accepted: dict[str, str] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)
    followed: dict[str, list[bytes]] = field(default_factory=dict)
    #: When each step took effect, by its key (seconds since the epoch).
    effects: dict[str, list[float]] = field(default_factory=dict)

    @property
    def children(self) -> dict[str, list[Recorded]]:
        """The executions that others have launched, by those."""
        found = defaultdict(list)
        for each in self.executions.values():
            if each.parent:
                found[each.parent].append(each)
        return found


def read_store(history: History, cluster: Cluster) -> None:
    """Read everything straight from PostgreSQL."""
    with cluster.database() as db, db.transaction():
        rows = db.execute(_ROWS).fetchall()
        history.executions = {row[0]: Recorded(*row) for row in rows}
        by_id = {each.id: each for each in history.executions.values()}
        with db.cursor(name="chunks") as cursor:
            cursor.itersize = 5000
            chunks: Any = cursor.execute(_CHUNKS)
            for execution, first, last, body in chunks:
                if execution in by_id:
                    by_id[execution].lines += _numbered(first, last, body)
        history.tallies = dict(db.execute(_TALLIES).fetchall())
        history.changes = Counter(int(row[0]) for row in db.execute(_CHANGES).fetchall())
        for what, query in _LEFT.items():
            [history.left[what]] = db.execute(query).fetchone() or (-1,)


def _numbered(first: int, last: int, body: bytes) -> Iterator[bytes]:
    """Return the lines of a chunk as the API sends them; `last` counts, whatever is in it."""
    texts = body.split(b"\n")
    numbers = range(first, last + 1)
    for seq, text in zip(numbers, texts, strict=False):
        yield b'{"seq":%d,%b\n' % (seq, text)
    if len(texts) != len(numbers):
        yield b'{"seq":-1,"kind":"broken","payload":"%d lines in %d to %d"}\n' % (
            *(len(texts), first, last),
        )


def read_api(history: History, front: Front) -> None:
    """Read everything from the API, each part from another process."""
    client = Client(front, answer_s=60)
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/executions", limit=_PAGE, fields="fid,status", **cursor)
        history.told += [(each["fid"], each["status"]) for each in page["items"]]
        if not page["next"]:
            break
        cursor = {"cursor": page["next"]}
    fids = [fid for fid, _ in history.told]
    for start in range(0, len(fids), _STREAM):
        history.events.update(_events(client, fids[start : start + _STREAM]))


def _events(client: Client, fids: list[str]) -> dict[str, list[bytes]]:
    """Return the events of some executions, in the order in which they are told."""
    target = "/v1/events?" + urlencode({"fid": fids}, doseq=True)
    for _ in range(20):
        found: dict[str, list[bytes]] = {fid: [] for fid in fids}
        try:
            for line in filter(None, client.lines(target, 60)):
                event = json.loads(line)
                if event.get("end"):
                    return found
                if "fid" in event:
                    found[event["fid"]].append(line)
        except BROKEN:
            continue
    raise AssertionError("the API does not tell the events")


def read_effects(path: Path) -> dict[str, list[float]]:
    """Return when each step took effect."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        key, _, seconds = line.split()
        found[key].append(float(seconds))
    return dict(found)
