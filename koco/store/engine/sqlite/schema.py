"""The tables, and the migration from each version of them to the next."""

import sqlite3
from contextlib import closing
from pathlib import Path

from koco.store.engine.sqlite.connection import connect_to_look
from koco.store.version import require_known

#: Step N migrates version N to N + 1. A step that has shipped is never edited.
MIGRATIONS: tuple[str, ...] = (
    """
    -- The store's own random secrets.
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    -- Services' secrets, encrypted with a key that is not in here (`koco.control.services`).
    CREATE TABLE sealed (
        name TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        updated TEXT NOT NULL,
        by TEXT NOT NULL
    ) WITHOUT ROWID;

    -- The settings that an operator has changed (`koco.control.settings`), as JSON.
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- `expires` and `former_until` are in seconds since the epoch; `scopes` and `flows` are lists,
    -- as JSON.
    CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created TEXT NOT NULL,
        by TEXT NOT NULL,
        flows TEXT NOT NULL,
        sees_all INTEGER NOT NULL,
        expires REAL,
        former BLOB,
        former_until REAL,
        last_used TEXT,
        last_from TEXT
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX keys_by_former ON keys (former) WHERE former IS NOT NULL;

    -- People who log in: `password` is a hash by argon2id. No key has the name of one.
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        password TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created TEXT NOT NULL,
        by TEXT NOT NULL,
        flows TEXT NOT NULL,
        sees_all INTEGER NOT NULL,
        last_login TEXT,
        last_from TEXT
    ) WITHOUT ROWID;

    -- Users show a session instead of their password; `expires` is in seconds since the epoch.
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,
        "user" TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        created TEXT NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions ("user");
    CREATE INDEX sessions_by_expires ON sessions (expires);

    -- The answers to requests with idempotency keys, for a day; `created` is in seconds since the
    -- epoch. Launches have their key in `executions`.
    CREATE TABLE replies (
        "user" TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        status INTEGER NOT NULL,
        body BLOB NOT NULL,
        location TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY ("user", key)
    ) WITHOUT ROWID;
    CREATE INDEX replies_by_age ON replies (created);

    -- `koco.store.model.AuditEntry`; `detail` is JSON. Nothing changes a row: not even REPLACE,
    -- which removes one without asking a trigger for deletes.
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        ts TEXT NOT NULL,
        who TEXT NOT NULL,
        credential TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        outcome TEXT NOT NULL,
        address TEXT NOT NULL,
        request TEXT NOT NULL,
        detail TEXT
    );
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END;
    CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END;
    CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE seq = new.seq) BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END;

    -- `manifest`, `flows`, `error`, `app`, `origin` and `timings` are JSON.
    CREATE TABLE releases (
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        status TEXT NOT NULL,
        bundle TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        manifest TEXT NOT NULL,
        flows TEXT NOT NULL DEFAULT '[]',
        created TEXT NOT NULL,
        ready TEXT,
        by TEXT NOT NULL,
        error TEXT,
        app TEXT,
        origin TEXT NOT NULL,
        timings TEXT NOT NULL,
        fallback INTEGER NOT NULL,
        retired TEXT,
        PRIMARY KEY (service, number)
    ) WITHOUT ROWID;
    CREATE INDEX releases_by_status ON releases (status, service, number);
    CREATE UNIQUE INDEX one_live_release ON releases (service) WHERE status = 'live';
    CREATE INDEX releases_by_bundle ON releases (bundle);

    -- The state of each schedule (`koco.store.model.Schedule`), as JSON.
    CREATE TABLE schedules (
        service TEXT NOT NULL,
        id TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (service, id)
    ) WITHOUT ROWID;

    -- `inputs`, `tags`, `error`, `moments`, `hidden` and `policy` are JSON. `deadline` is set while
    -- the execution runs, and `left_s` is the time that it had left when it last began to run.
    -- `not_before` and `deadline` are in seconds since the epoch.
    CREATE TABLE executions (
        id INTEGER PRIMARY KEY,
        fid TEXT NOT NULL,
        flow TEXT NOT NULL,
        service TEXT NOT NULL,
        release INTEGER NOT NULL,
        status TEXT NOT NULL,
        inputs TEXT NOT NULL,
        "user" TEXT NOT NULL,
        tags TEXT NOT NULL,
        created TEXT NOT NULL,
        started TEXT,
        finished TEXT,
        last_seq INTEGER NOT NULL DEFAULT 0,
        outcome_seq INTEGER,
        error TEXT,
        runner TEXT NOT NULL DEFAULT '',
        cancel_requested TEXT,
        grace_s REAL NOT NULL DEFAULT 0,
        entrypoint TEXT NOT NULL DEFAULT '',
        key TEXT,
        key_digest TEXT,
        moments TEXT,
        hidden TEXT,
        policy TEXT,
        attempt INTEGER NOT NULL DEFAULT 1,
        not_before REAL,
        deadline REAL,
        left_s REAL,
        timed_out TEXT,
        retry_of TEXT,
        event_bytes INTEGER NOT NULL DEFAULT 0,
        cut_events INTEGER NOT NULL DEFAULT 0,
        cut_bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX executions_by_fid ON executions (fid);
    CREATE UNIQUE INDEX executions_by_key ON executions ("user", key) WHERE key IS NOT NULL;
    CREATE INDEX executions_by_deadline ON executions (deadline) WHERE deadline IS NOT NULL;
    -- Those with a status: a flow or a user may have a million others.
    CREATE INDEX executions_by_status ON executions (status, id);
    CREATE INDEX executions_by_flow ON executions (flow, id);
    CREATE INDEX executions_by_flow_and_status ON executions (flow, status, id);
    CREATE INDEX executions_by_user ON executions ("user", id);
    CREATE INDEX executions_by_user_and_status ON executions ("user", status, id);

    -- Counting a million rows would take 50 ms, and these counters cost nothing.
    CREATE TABLE tallies (status TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TRIGGER count_new AFTER INSERT ON executions BEGIN
        INSERT INTO tallies VALUES (new.status, 1)
            ON CONFLICT DO UPDATE SET count = count + 1;
    END;
    CREATE TRIGGER count_moved AFTER UPDATE OF status ON executions
    WHEN old.status IS NOT new.status BEGIN
        UPDATE tallies SET count = count - 1 WHERE status = old.status;
        INSERT INTO tallies VALUES (new.status, 1)
            ON CONFLICT DO UPDATE SET count = count + 1;
    END;
    CREATE TRIGGER count_gone AFTER DELETE ON executions BEGIN
        UPDATE tallies SET count = count - 1 WHERE status = old.status;
    END;

    CREATE TABLE tags (
        tag TEXT NOT NULL,
        execution INTEGER NOT NULL,
        PRIMARY KEY (tag, execution)
    ) WITHOUT ROWID;
    CREATE TRIGGER tags_new AFTER INSERT ON executions WHEN new.tags <> '[]' BEGIN
        INSERT OR IGNORE INTO tags SELECT value, new.id FROM json_each(new.tags);
    END;
    CREATE TRIGGER tags_gone AFTER DELETE ON executions WHEN old.tags <> '[]' BEGIN
        DELETE FROM tags WHERE execution = old.id
            AND tag IN (SELECT value FROM json_each(old.tags));
    END;

    -- The times at which the executions of each thousand ids were created. Ids follow the clock
    -- unless somebody sets it back, so a range of times is a range of these.
    CREATE TABLE spans (block INTEGER PRIMARY KEY, earliest TEXT NOT NULL, latest TEXT NOT NULL);
    CREATE TRIGGER spans_new AFTER INSERT ON executions BEGIN
        INSERT INTO spans VALUES (new.id / 1000, new.created, new.created)
            ON CONFLICT DO UPDATE SET earliest = min(earliest, excluded.earliest),
            latest = max(latest, excluded.latest);
    END;

    -- Each execution once, by its latest change: a new row replaces the execution's previous one,
    -- and has a higher number than all others. Of a deleted execution, the row stays, with the
    -- columns that decide who may know of it.
    CREATE TABLE changes (
        seq INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL UNIQUE,
        fid TEXT,
        flow TEXT,
        "user" TEXT
    );
    CREATE TRIGGER changes_new AFTER INSERT ON executions WHEN new.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution) VALUES (new.id);
    END;
    CREATE TRIGGER changes_moved AFTER UPDATE OF status ON executions
    WHEN old.status IS NOT new.status AND new.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution) VALUES (new.id);
    END;
    CREATE TRIGGER changes_gone AFTER DELETE ON executions WHEN old.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution, fid, flow, "user")
            VALUES (old.id, old.fid, old.flow, old."user");
    END;

    -- Which changes the full text index has (see `koco.store.executions.search`): those above
    -- `above`, up to `upto`. It grows at both ends.
    CREATE TABLE indexed (upto INTEGER NOT NULL, above INTEGER NOT NULL);
    INSERT INTO indexed VALUES (0, 0);

    -- A row holds the events of one batch as they came, so that neither storing
    -- nor reading them costs anything per event.
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX chunks_in_order ON chunks (execution, last);

    CREATE TABLE producers (
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        producer TEXT NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (execution, producer)
    ) WITHOUT ROWID;

    -- `expires` is in seconds since the epoch; `data`, `answer`, `moments` and `hidden` are JSON.
    CREATE TABLE locks (
        lid TEXT PRIMARY KEY,
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        name TEXT NOT NULL,
        data TEXT NOT NULL,
        status TEXT NOT NULL,
        created TEXT NOT NULL,
        expires REAL NOT NULL,
        answer TEXT,
        moments TEXT,
        hidden TEXT,
        settled TEXT,
        by TEXT
    ) WITHOUT ROWID;
    CREATE INDEX locks_of_execution ON locks (execution, status);
    CREATE INDEX locks_open ON locks (expires) WHERE status = 'open';
    CREATE INDEX locks_by_status ON locks (status, created, lid);

    -- Files are names for blobs: no path of a user's ever reaches the file system.
    CREATE TABLE files (
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created TEXT NOT NULL,
        by TEXT NOT NULL,
        PRIMARY KEY (execution, path)
    ) WITHOUT ROWID;
    CREATE INDEX files_by_blob ON files (sha256);

    -- The blobs that a user has uploaded, and may therefore name in a launch.
    CREATE TABLE uploads (
        "user" TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY ("user", sha256)
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_blob ON uploads (sha256);
    """,
    """
    -- Inactive users cannot log in; `email` is empty if it is not known.
    ALTER TABLE users ADD COLUMN active INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE users ADD COLUMN email TEXT NOT NULL DEFAULT '';

    -- Executions that have ended, counted (`koco.store.usage`). The counts stay when executions are
    -- deleted. `day` is that of the launch, in UTC; `bucket` is the duration, on a logarithmic
    -- scale, and -1 for executions that never ran.
    CREATE TABLE usage (
        day TEXT NOT NULL,
        flow TEXT NOT NULL,
        "user" TEXT NOT NULL,
        status TEXT NOT NULL,
        bucket INTEGER NOT NULL,
        executions INTEGER NOT NULL,
        duration_s REAL NOT NULL,
        event_bytes INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        PRIMARY KEY (day, flow, "user", status, bucket)
    ) WITHOUT ROWID;

    -- Those that ended before. The bounds are in milliseconds: not every SQLite has logarithms.
    CREATE TEMP TABLE bounds (low REAL PRIMARY KEY, bucket INTEGER NOT NULL) WITHOUT ROWID;
    WITH RECURSIVE step (low, bucket) AS (
        SELECT 0.0, 0 UNION ALL
        SELECT max(low, 1.0) * 1.189207115002721, bucket + 1 FROM step WHERE bucket < 160
    )
    INSERT INTO bounds SELECT low, bucket FROM step;
    INSERT INTO usage
        SELECT day, flow, "user", status,
            CASE WHEN ms IS NULL THEN -1 ELSE
                (SELECT bucket FROM bounds WHERE low <= max(ms, 0) ORDER BY low DESC LIMIT 1) END
                AS bucket,
            count(*), total(ms) / 1000, sum(event_bytes), sum(file_bytes)
        FROM (
            SELECT substr(created, 1, 10) AS day, flow, "user", status, event_bytes,
                (julianday(finished) - julianday(started)) * 86400000 AS ms,
                (SELECT coalesce(sum(size_bytes), 0) FROM files WHERE execution = id) AS file_bytes
            FROM executions WHERE finished IS NOT NULL AND service <> ''
        )
        GROUP BY day, flow, "user", status, bucket;
    DROP TABLE bounds;
    """,
    """
    -- The way in which the entrypoint is called: `koco.manifest.descriptions.KODOSUMI`, or ours.
    ALTER TABLE executions ADD COLUMN dialect TEXT NOT NULL DEFAULT '';

    -- The entrypoints and inputs that are not JSON, as their services pickled them: see
    -- `koco.runner.spec.Launch`. Nothing here unpickles them.
    CREATE TABLE pickles (
        execution INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE,
        body TEXT NOT NULL
    );
    """,
    """
    -- `parent` is the fid of the execution that launched this one, `resume_of` that of the one
    -- whose steps it took over, `origin` that of the first one of such a chain. `resumed` counts
    -- how often another process went on with it, `moves` how often it lost or left its process,
    -- which raises `attempt` but is none. `deaths` counts the processes that died, one after the
    -- other, without a new outcome of a step: there were `deaths_at` outcomes then.
    ALTER TABLE executions ADD COLUMN parent TEXT;
    ALTER TABLE executions ADD COLUMN resume_of TEXT;
    ALTER TABLE executions ADD COLUMN origin TEXT;
    ALTER TABLE executions ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN moves INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN deaths_at INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX executions_by_parent ON executions (parent, id) WHERE parent IS NOT NULL;
    -- There may be very many parked executions. These find them, and those that are not.
    CREATE INDEX executions_parked ON executions (parked, service, release, status)
        WHERE parked = 1;
    CREATE INDEX executions_to_end ON executions (service)
        WHERE parked = 1 AND cancel_requested IS NOT NULL;
    CREATE INDEX executions_awaiting ON executions (id) WHERE status = 'awaiting' AND parked = 0;

    -- `key` is the lock's place in its flow's code (`koco.events.steps`), empty if it has none, and
    -- `attempt` is the attempt that opened it.
    ALTER TABLE locks ADD COLUMN key TEXT NOT NULL DEFAULT '';
    ALTER TABLE locks ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;

    -- Recorded steps and waits (`koco.events.steps`). A lock with a place has a row here, too, but
    -- its outcome is only in `locks`. `started` and `due` are in seconds since the
    -- epoch; `child` is the fid of the launched execution; `message` is the name of the message
    -- that is waited for. `result` is the outcome: of a step as its runner encoded it, of a wait as
    -- JSON. A large one is in the blob `blob` instead. It comes last, because reading the columns
    -- behind it would read all of it.
    CREATE TABLE steps (
        id INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        position INTEGER NOT NULL,
        digest TEXT NOT NULL,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0,
        started REAL NOT NULL,
        duration_s REAL,
        arguments TEXT NOT NULL,
        preview TEXT NOT NULL DEFAULT '',
        size_bytes INTEGER NOT NULL DEFAULT 0,
        blob TEXT,
        due REAL,
        child TEXT,
        message TEXT,
        result BLOB
    );
    CREATE UNIQUE INDEX steps_by_key ON steps (execution, key);
    CREATE INDEX steps_waiting ON steps (execution, message) WHERE status = 'waiting';
    CREATE INDEX steps_due ON steps (due)
        WHERE status = 'waiting' AND due IS NOT NULL AND kind <> 'lock';
    CREATE INDEX steps_by_child ON steps (child) WHERE child IS NOT NULL;
    CREATE INDEX steps_by_blob ON steps (blob) WHERE blob IS NOT NULL;

    -- Messages to executions (`koco send`). `data` and `moments` are JSON; `taken` is the key of
    -- the step that received it, `key` the idempotency key of the request that sent it.
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        name TEXT NOT NULL,
        data TEXT NOT NULL,
        moments TEXT,
        created TEXT NOT NULL,
        by TEXT NOT NULL,
        taken TEXT,
        key TEXT,
        size_bytes INTEGER NOT NULL
    );
    -- With the size, so that those who have not been received are summed up without their data.
    CREATE INDEX messages_of_execution ON messages (execution, taken, name, id, size_bytes);
    CREATE UNIQUE INDEX messages_by_key ON messages (execution, by, key) WHERE key IS NOT NULL;
    """,
    """
    -- Which executions were retried or resumed, and as which.
    CREATE INDEX executions_by_retry_of ON executions (retry_of) WHERE retry_of IS NOT NULL;
    CREATE INDEX executions_by_resume_of ON executions (resume_of) WHERE resume_of IS NOT NULL;

    -- The schedules that somebody paused. `schedule` is the id of one of a flow's schedules, or
    -- empty for all of the flow, also those that a later release adds.
    CREATE TABLE schedule_pauses (
        flow TEXT NOT NULL,
        schedule TEXT NOT NULL,
        by TEXT NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (flow, schedule)
    ) WITHOUT ROWID;

    -- What the flow last said of its progress (`koco.events.progress`), and what the execution has
    -- used (`koco.events.used`), as JSON.
    ALTER TABLE executions ADD COLUMN progress TEXT;
    ALTER TABLE executions ADD COLUMN used TEXT;

    -- The same of all executions that were counted. Of `peak_memory_bytes`, the highest.
    ALTER TABLE usage ADD COLUMN wall_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN cpu_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN peak_memory_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN ray_tasks INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE usage SET stored_bytes = event_bytes + file_bytes;

    -- The limits that somebody has set in place of a manifest's (`koco.store.model.LimitOverride`),
    -- as JSON.
    CREATE TABLE limits (flow TEXT PRIMARY KEY, override TEXT NOT NULL) WITHOUT ROWID;

    -- Entries of the audit log from before this time are no longer kept, and may be removed.
    CREATE TABLE audit_horizon (before TEXT NOT NULL);
    INSERT INTO audit_horizon VALUES ('');
    DROP TRIGGER audit_is_not_removed;
    CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
    WHEN old.ts >= (SELECT before FROM audit_horizon) BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END;
    """,
    """
    -- Where news of executions are sent (`koco.store.webhooks`). A webhook of one execution has
    -- its id. `user` is the one whose executions it hears of, empty for all; `events` and `flows`
    -- are lists, as JSON; `sealed` has its secrets, encrypted; `former_until` is in seconds since
    -- the epoch.
    CREATE TABLE webhooks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        execution INTEGER REFERENCES executions ON DELETE CASCADE,
        url TEXT NOT NULL,
        origin TEXT NOT NULL,
        events TEXT NOT NULL,
        flows TEXT NOT NULL,
        "user" TEXT NOT NULL,
        by TEXT NOT NULL,
        created TEXT NOT NULL,
        sealed BLOB NOT NULL,
        former_until REAL,
        disabled TEXT,
        why TEXT,
        failures INTEGER NOT NULL DEFAULT 0,
        last_ok TEXT
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX webhooks_by_name ON webhooks (name) WHERE execution IS NULL;
    CREATE INDEX webhooks_by_user ON webhooks ("user") WHERE execution IS NULL;
    CREATE UNIQUE INDEX webhooks_of_execution ON webhooks (execution, kind, name)
        WHERE execution IS NOT NULL;

    -- The outbox: what each webhook is to be told, and has been. It is written with the change
    -- that it tells of. `due` is when it is sent next (seconds since the epoch), or NULL.
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY,
        message TEXT NOT NULL UNIQUE,
        webhook TEXT NOT NULL REFERENCES webhooks ON DELETE CASCADE,
        fid TEXT NOT NULL,
        flow TEXT NOT NULL,
        event TEXT NOT NULL,
        lid TEXT NOT NULL,
        created TEXT NOT NULL,
        status TEXT NOT NULL,
        due REAL,
        origin TEXT NOT NULL,
        by TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        last TEXT,
        code INTEGER,
        error TEXT,
        took_s REAL
    );
    CREATE INDEX deliveries_due ON deliveries (due, origin, by) WHERE due IS NOT NULL;
    CREATE INDEX deliveries_by_webhook ON deliveries (webhook, id);
    CREATE INDEX deliveries_by_fid ON deliveries (fid, id);
    CREATE INDEX deliveries_by_status ON deliveries (status, id);
    """,
    """
    -- Jobs that are launched once they are paid (`koco.store.model.Payment`). `inputs`, `about` and
    -- `terms` are JSON.
    CREATE TABLE payments (
        fid TEXT PRIMARY KEY,
        flow TEXT NOT NULL,
        "user" TEXT NOT NULL,
        identifier TEXT NOT NULL,
        input_hash TEXT NOT NULL,
        inputs TEXT NOT NULL,
        terms TEXT NOT NULL,
        created REAL NOT NULL,
        about TEXT NOT NULL,
        state TEXT NOT NULL,
        cause TEXT
    ) WITHOUT ROWID;
    CREATE INDEX payments_open ON payments (state, created)
        WHERE state IN ('awaiting', 'paid', 'launched');
    """,
    """
    -- The span that an execution was launched in, as W3C's headers have it, if somebody said so.
    ALTER TABLE executions ADD COLUMN traceparent TEXT;
    ALTER TABLE executions ADD COLUMN tracestate TEXT;

    -- How far a reader of the feed of changes has come that must not lose its place.
    CREATE TABLE cursors (name TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    -- When the maker of a webhook was made, who is not the next key or user of that name. Names of
    -- webhooks are unique among a maker's.
    ALTER TABLE webhooks ADD COLUMN made TEXT NOT NULL DEFAULT '';
    UPDATE webhooks SET made = coalesce(
        (SELECT k.created FROM keys k WHERE k.name = by AND k.created <= webhooks.created),
        (SELECT u.created FROM users u WHERE u.name = by AND u.created <= webhooks.created),
        ''
    );
    DROP INDEX webhooks_by_name;
    CREATE UNIQUE INDEX webhooks_by_name ON webhooks (by, made, name) WHERE execution IS NULL;
    DROP INDEX webhooks_of_execution;
    CREATE UNIQUE INDEX webhooks_of_execution ON webhooks (execution, kind, by, made, name)
        WHERE execution IS NOT NULL;
    CREATE INDEX webhooks_by_maker ON webhooks (by);
    """,
    """
    CREATE INDEX changes_of_deleted ON changes ("user", seq) WHERE fid IS NOT NULL;
    """,
)


def version_of(path: Path) -> int:
    """Return the version of the database in a file, or 0 if there is none. Writes nothing."""
    if not path.is_file():
        return 0
    with closing(connect_to_look(path)) as db:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection) -> None:
    """Migrate a database to the newest version, each step in a transaction of its own.

    Raises:
        ConflictError: a newer koco has written it. It stays unchanged.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    require_known(version)
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;")
