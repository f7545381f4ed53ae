"""What must hold in the tables of a store in PostgreSQL, however many have written to it."""

import psycopg

#: Each finds rows only if something is wrong.
_CHECKS = {
    "ids are not in a row": (
        "SELECT count(*), max(id) FROM executions HAVING count(*) <> coalesce(max(id), 0)"
    ),
    "tallies do not count the executions": (
        "SELECT status FROM (SELECT status, count(*) AS found FROM executions GROUP BY status) AS e"
        " FULL JOIN (SELECT * FROM tallies WHERE count > 0) AS t USING (status)"
        " WHERE found IS DISTINCT FROM count"
    ),
    "events have gaps, or are not those that the execution counts": (
        "SELECT e.id FROM executions e LEFT JOIN (SELECT execution, max(last) AS last,"
        " sum(last - first + 1) AS total, min(first) AS first FROM chunks GROUP BY execution) AS c"
        " ON c.execution = e.id WHERE e.last_seq IS DISTINCT FROM c.last"
        " OR c.total <> c.last OR c.first <> 1"
    ),
    "changes are not one for each execution": (
        "SELECT e.id FROM executions e FULL JOIN changes c ON c.execution = e.id"
        " WHERE e.id IS NULL OR c.seq IS NULL"
    ),
    "changes of those created later come first": (
        "SELECT e.id FROM executions e JOIN changes c ON c.execution = e.id"
        " JOIN executions f ON f.id = e.id + 1 JOIN changes d ON d.execution = f.id"
        " WHERE e.status = 'queued' AND f.status = 'queued' AND d.seq < c.seq"
    ),
    "a leader launched after the next one did": (
        "SELECT id, tags, before FROM (SELECT id, tags, lag(tags) OVER (ORDER BY id) AS before"
        " FROM executions WHERE \"user\" = 'leader') AS e"
        " WHERE CAST(tags::jsonb ->> 0 AS int) < CAST(before::jsonb ->> 0 AS int)"
    ),
    "statuses differ from the last event's": (
        "SELECT e.id FROM executions e JOIN chunks c ON c.execution = e.id AND c.last = e.last_seq"
        " WHERE convert_from(c.body, 'UTF8') NOT LIKE '%\"status\":\"' || e.status || '\"%'"
    ),
}


def problems(url: str) -> list[str]:
    """Return what is wrong. No execution has been deleted."""
    with psycopg.connect(url) as db:
        db.execute("SET search_path TO koco")
        return [
            f"{what}: {rows[:3]}"
            for what, query in _CHECKS.items()
            if (rows := db.execute(query).fetchall())  # type: ignore[call-overload]
        ]
