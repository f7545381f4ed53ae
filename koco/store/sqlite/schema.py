"""The tables, and the migration from each version of them to the next."""

import sqlite3
from pathlib import Path

from koco.errors import ConflictError

#: Step N migrates version N to N + 1. A step that has shipped is never edited.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created TEXT NOT NULL
    ) WITHOUT ROWID;

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
        PRIMARY KEY (service, number)
    ) WITHOUT ROWID;
    CREATE INDEX releases_by_status ON releases (status, service, number);
    CREATE UNIQUE INDEX one_live_release ON releases (service) WHERE status = 'live';

    CREATE TABLE executions (
        id INTEGER PRIMARY KEY,
        fid TEXT NOT NULL UNIQUE,
        flow TEXT NOT NULL,
        service TEXT NOT NULL,
        release INTEGER NOT NULL,
        status TEXT NOT NULL,
        inputs TEXT NOT NULL,
        user TEXT NOT NULL,
        tags TEXT NOT NULL,
        created TEXT NOT NULL,
        started TEXT,
        finished TEXT,
        last_seq INTEGER NOT NULL DEFAULT 0,
        outcome_seq INTEGER,
        error TEXT,
        runner TEXT NOT NULL DEFAULT '',
        cancel_requested TEXT,
        grace_s REAL NOT NULL DEFAULT 0
    );
    CREATE INDEX executions_by_status ON executions (status, id);
    CREATE INDEX executions_by_flow ON executions (flow, id);

    -- Counting a million rows takes 50 ms; keeping count takes nothing.
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
    """,
    """
    -- What a launch says beyond its flow: the entrypoint where a service's own endpoint
    -- chose one, and the key under which the caller may repeat the launch.
    ALTER TABLE executions ADD COLUMN entrypoint TEXT NOT NULL DEFAULT '';
    ALTER TABLE executions ADD COLUMN key TEXT;
    ALTER TABLE executions ADD COLUMN key_digest TEXT;
    -- Which texts of the inputs are dates and times (`koco.sdk.moments`), as JSON.
    ALTER TABLE executions ADD COLUMN moments TEXT;
    -- The names of inputs that nobody is shown: passwords.
    ALTER TABLE executions ADD COLUMN hidden TEXT;
    CREATE UNIQUE INDEX executions_by_key ON executions (user, key) WHERE key IS NOT NULL;

    -- What a runner said of the service's own endpoint: `{locks, leases}`.
    ALTER TABLE releases ADD COLUMN app TEXT;

    -- An execution's pauses for a person. `expires` is in seconds since the epoch.
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

    -- Which blobs a user has brought, and may so name in a launch.
    CREATE TABLE uploads (
        user TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (user, sha256)
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_blob ON uploads (sha256);
    """,
    """
    -- Where a release comes from, and how long each part of its becoming ready took, as JSON;
    -- whether the former release goes on serving where it fails.
    ALTER TABLE releases ADD COLUMN origin TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE releases ADD COLUMN timings TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE releases ADD COLUMN fallback INTEGER NOT NULL DEFAULT 1;
    -- When it served no more; of one that failed without a fallback: when that was over.
    ALTER TABLE releases ADD COLUMN retired TEXT;
    CREATE INDEX releases_by_bundle ON releases (bundle);

    -- What an operator has set (`koco.control.settings`), as JSON.
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- Services' secrets, encrypted with a key that is not in here (`koco.control.vault`).
    CREATE TABLE sealed (
        name TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        updated TEXT NOT NULL,
        by TEXT NOT NULL
    ) WITHOUT ROWID;

    -- What becomes of an execution that takes too long, or whose attempt fails, as JSON; how
    -- often it has been tried, and when it may be tried again. `deadline` is when its time is
    -- over, while it runs, and `left_s` what it had left when it last began to run. Times are
    -- in seconds since the epoch.
    ALTER TABLE executions ADD COLUMN policy TEXT;
    ALTER TABLE executions ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE executions ADD COLUMN not_before REAL;
    ALTER TABLE executions ADD COLUMN deadline REAL;
    ALTER TABLE executions ADD COLUMN left_s REAL;
    ALTER TABLE executions ADD COLUMN timed_out TEXT;
    CREATE INDEX executions_by_deadline ON executions (deadline) WHERE deadline IS NOT NULL;
    -- What runs of one flow, among the million that it has run.
    CREATE INDEX executions_by_flow_and_status ON executions (flow, status, id);

    -- What became of the last times of each schedule (`koco.store.model.Schedule`), as JSON.
    CREATE TABLE schedules (
        service TEXT NOT NULL,
        id TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (service, id)
    ) WITHOUT ROWID;
    """,
    """
    -- What a key is good for, until when, and where it was last seen. `expires` and
    -- `former_until` are in seconds since the epoch; `flows` is a list, as JSON.
    ALTER TABLE keys ADD COLUMN by TEXT NOT NULL DEFAULT '';
    ALTER TABLE keys ADD COLUMN flows TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE keys ADD COLUMN sees_all INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE keys ADD COLUMN expires REAL;
    ALTER TABLE keys ADD COLUMN former BLOB;
    ALTER TABLE keys ADD COLUMN former_until REAL;
    ALTER TABLE keys ADD COLUMN last_used TEXT;
    ALTER TABLE keys ADD COLUMN last_from TEXT;
    UPDATE keys SET sees_all = 1;
    CREATE UNIQUE INDEX keys_by_former ON keys (former) WHERE former IS NOT NULL;

    -- Whoever may see only their own executions looks for them among everybody's.
    CREATE INDEX executions_by_user ON executions (user, id);
    CREATE INDEX executions_by_user_and_status ON executions (user, status, id);

    -- The execution that it is another try of, by its fid.
    ALTER TABLE executions ADD COLUMN retry_of TEXT;

    CREATE TABLE tags (
        tag TEXT NOT NULL,
        execution INTEGER NOT NULL,
        PRIMARY KEY (tag, execution)
    ) WITHOUT ROWID;
    INSERT OR IGNORE INTO tags SELECT each.value, e.id FROM executions e, json_each(e.tags) each
        WHERE e.tags <> '[]' ORDER BY each.value, e.id;
    CREATE TRIGGER tags_new AFTER INSERT ON executions WHEN new.tags <> '[]' BEGIN
        INSERT OR IGNORE INTO tags SELECT value, new.id FROM json_each(new.tags);
    END;
    CREATE TRIGGER tags_gone AFTER DELETE ON executions WHEN old.tags <> '[]' BEGIN
        DELETE FROM tags WHERE execution = old.id
            AND tag IN (SELECT value FROM json_each(old.tags));
    END;

    -- When the executions of each thousand ids were made. Ids follow the clock, but for when
    -- somebody sets that back, so a range of times is a range of these.
    CREATE TABLE spans (block INTEGER PRIMARY KEY, earliest TEXT NOT NULL, latest TEXT NOT NULL);
    INSERT INTO spans SELECT id / 1000, min(created), max(created) FROM executions
        GROUP BY id / 1000;
    CREATE TRIGGER spans_new AFTER INSERT ON executions BEGIN
        INSERT INTO spans VALUES (new.id / 1000, new.created, new.created)
            ON CONFLICT DO UPDATE SET earliest = min(earliest, excluded.earliest),
            latest = max(latest, excluded.latest);
    END;

    -- Each execution once, by its latest change: a new row takes its former one's place, and
    -- has a higher number than any. What was deleted stays, with who may be told of it.
    CREATE TABLE changes (
        seq INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL UNIQUE,
        fid TEXT,
        flow TEXT,
        user TEXT
    );
    INSERT INTO changes (execution) SELECT id FROM executions WHERE service <> '' ORDER BY id;
    CREATE TRIGGER changes_new AFTER INSERT ON executions WHEN new.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution) VALUES (new.id);
    END;
    CREATE TRIGGER changes_moved AFTER UPDATE OF status ON executions
    WHEN old.status IS NOT new.status AND new.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution) VALUES (new.id);
    END;
    CREATE TRIGGER changes_gone AFTER DELETE ON executions WHEN old.service <> '' BEGIN
        INSERT OR REPLACE INTO changes (execution, fid, flow, user)
            VALUES (old.id, old.fid, old.flow, old.user);
    END;

    -- Which changes the full-text index has (`koco.store.sqlite.search`): those above `above`,
    -- up to `upto`. It goes on at both ends.
    CREATE TABLE indexed (upto INTEGER NOT NULL, above INTEGER NOT NULL);
    INSERT INTO indexed SELECT coalesce(max(seq), 0), coalesce(max(seq), 0) FROM changes;

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
    -- What they show instead of their password; `expires` is in seconds since the epoch.
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        created TEXT NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions (user);
    CREATE INDEX sessions_by_expires ON sessions (expires);

    -- Who did what (`koco.store.model.AuditEntry`); `detail` is JSON. Nothing changes a row:
    -- not even REPLACE, which removes one without asking a trigger for deletes.
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

    -- What was answered under idempotency keys, for a day; `created` is in seconds since the
    -- epoch. Launches have their key in `executions`.
    CREATE TABLE replies (
        user TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        status INTEGER NOT NULL,
        body BLOB NOT NULL,
        location TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (user, key)
    ) WITHOUT ROWID;
    CREATE INDEX replies_by_age ON replies (created);
    """,
    """
    -- What is stored of an execution's events, and what was not: see `koco.store.sqlite.events`.
    ALTER TABLE executions ADD COLUMN event_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN cut_events INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN cut_bytes INTEGER NOT NULL DEFAULT 0;
    """,
)


def version_of(path: Path) -> int:
    """Return the version of the database in a file, or 0 if there is none. Writes nothing."""
    if not path.is_file():
        return 0
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()
    return version


def require_known(version: int) -> None:
    """Refuse a database that a newer koco has written.

    Raises:
        ConflictError: a newer koco has written it.
    """
    if version > len(MIGRATIONS):
        raise ConflictError(
            f"the store has version {version}, this koco knows up to {len(MIGRATIONS)}",
            hint="a newer koco wrote it: upgrade koco here (`pip install -U koco`)",
        )


def migrate(db: sqlite3.Connection) -> None:
    """Migrate a database to the newest version, each step in a transaction of its own.

    Raises:
        ConflictError: a newer koco has written it. It stays unchanged.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    require_known(version)
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;")
