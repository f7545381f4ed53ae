"""The first tables and triggers, with SQLite's types. They have shipped: they are never edited."""

#: The version, and how often a control plane has opened it: see `writer`.
STORE = """
    CREATE TABLE store (version INTEGER NOT NULL, opened INTEGER NOT NULL);
    INSERT INTO store VALUES (0, 0);
"""

TABLES = """
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE sealed (
        name TEXT PRIMARY KEY, value BLOB NOT NULL, updated TEXT NOT NULL, by TEXT NOT NULL
    );
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE limits (flow TEXT PRIMARY KEY, override TEXT NOT NULL);
    CREATE TABLE cursors (name TEXT PRIMARY KEY, cursor TEXT NOT NULL);

    CREATE TABLE keys (
        name TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, scopes TEXT NOT NULL,
        created TEXT NOT NULL, by TEXT NOT NULL, flows TEXT NOT NULL, sees_all INTEGER NOT NULL,
        expires REAL, former BLOB, former_until REAL, last_used TEXT, last_from TEXT
    );
    CREATE UNIQUE INDEX keys_by_former ON keys (former) WHERE former IS NOT NULL;

    CREATE TABLE users (
        name TEXT PRIMARY KEY, password TEXT NOT NULL, scopes TEXT NOT NULL, created TEXT NOT NULL,
        by TEXT NOT NULL, flows TEXT NOT NULL, sees_all INTEGER NOT NULL, last_login TEXT,
        last_from TEXT, active INTEGER NOT NULL DEFAULT 1, email TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY, "user" TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        created TEXT NOT NULL, expires REAL NOT NULL
    );
    CREATE INDEX sessions_by_user ON sessions ("user");
    CREATE INDEX sessions_by_expires ON sessions (expires);

    CREATE TABLE replies (
        "user" TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL,
        body BLOB NOT NULL, location TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY ("user", key)
    );
    CREATE INDEX replies_by_age ON replies (created);

    CREATE TABLE audit (
        seq ID, ts TEXT NOT NULL, who TEXT NOT NULL, credential TEXT NOT NULL,
        action TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL, address TEXT NOT NULL,
        request TEXT NOT NULL, detail TEXT
    );
    CREATE TABLE audit_horizon (before TEXT NOT NULL);
    INSERT INTO audit_horizon VALUES ('');

    CREATE TABLE releases (
        service TEXT NOT NULL, number INTEGER NOT NULL, status TEXT NOT NULL, bundle TEXT NOT NULL,
        fingerprint TEXT NOT NULL, manifest TEXT NOT NULL, flows TEXT NOT NULL DEFAULT '[]',
        created TEXT NOT NULL, ready TEXT, by TEXT NOT NULL, error TEXT, app TEXT,
        origin TEXT NOT NULL, timings TEXT NOT NULL, fallback INTEGER NOT NULL, retired TEXT,
        PRIMARY KEY (service, number)
    );
    CREATE INDEX releases_by_status ON releases (status, service, number);
    CREATE UNIQUE INDEX one_live_release ON releases (service) WHERE status = 'live';
    CREATE INDEX releases_by_bundle ON releases (bundle);

    CREATE TABLE schedules (
        service TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (service, id)
    );
    CREATE TABLE schedule_pauses (
        flow TEXT NOT NULL, schedule TEXT NOT NULL, by TEXT NOT NULL, created TEXT NOT NULL,
        PRIMARY KEY (flow, schedule)
    );

    -- With some room in each page, because each row changes about ten times.
    CREATE TABLE executions (
        id INTEGER PRIMARY KEY, fid TEXT NOT NULL, flow TEXT NOT NULL, service TEXT NOT NULL,
        release INTEGER NOT NULL, status TEXT NOT NULL, inputs TEXT NOT NULL, "user" TEXT NOT NULL,
        tags TEXT NOT NULL, created TEXT NOT NULL, started TEXT, finished TEXT,
        last_seq INTEGER NOT NULL DEFAULT 0, outcome_seq INTEGER, error TEXT,
        runner TEXT NOT NULL DEFAULT '', cancel_requested TEXT, grace_s REAL NOT NULL DEFAULT 0,
        entrypoint TEXT NOT NULL DEFAULT '', key TEXT, key_digest TEXT, moments TEXT, hidden TEXT,
        policy TEXT, attempt INTEGER NOT NULL DEFAULT 1, not_before REAL, deadline REAL,
        left_s REAL, timed_out TEXT, retry_of TEXT, event_bytes INTEGER NOT NULL DEFAULT 0,
        cut_events INTEGER NOT NULL DEFAULT 0, cut_bytes INTEGER NOT NULL DEFAULT 0,
        dialect TEXT NOT NULL DEFAULT '', parent TEXT, resume_of TEXT, origin TEXT,
        resumed INTEGER NOT NULL DEFAULT 0, moves INTEGER NOT NULL DEFAULT 0,
        parked INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0,
        deaths_at INTEGER NOT NULL DEFAULT 0, progress TEXT, used TEXT, traceparent TEXT,
        tracestate TEXT
    ) WITH (fillfactor = 70);
    CREATE UNIQUE INDEX executions_by_fid ON executions (fid);
    CREATE UNIQUE INDEX executions_by_key ON executions ("user", key) WHERE key IS NOT NULL;
    CREATE INDEX executions_by_deadline ON executions (deadline) WHERE deadline IS NOT NULL;
    CREATE INDEX executions_by_status ON executions (status, id);
    CREATE INDEX executions_by_flow ON executions (flow, id);
    CREATE INDEX executions_by_flow_and_status ON executions (flow, status, id);
    CREATE INDEX executions_by_user ON executions ("user", id);
    CREATE INDEX executions_by_user_and_status ON executions ("user", status, id);
    CREATE INDEX executions_by_parent ON executions (parent, id) WHERE parent IS NOT NULL;
    CREATE INDEX executions_parked ON executions (parked, service, release, status)
        WHERE parked = 1;
    CREATE INDEX executions_to_end ON executions (service)
        WHERE parked = 1 AND cancel_requested IS NOT NULL;
    CREATE INDEX executions_awaiting ON executions (id) WHERE status = 'awaiting' AND parked = 0;
    CREATE INDEX executions_by_retry_of ON executions (retry_of) WHERE retry_of IS NOT NULL;
    CREATE INDEX executions_by_resume_of ON executions (resume_of) WHERE resume_of IS NOT NULL;

    CREATE TABLE tallies (status TEXT PRIMARY KEY, count INTEGER NOT NULL)
        WITH (fillfactor = 20);
    CREATE TABLE tags (
        tag TEXT NOT NULL, execution INTEGER NOT NULL, PRIMARY KEY (tag, execution)
    );
    CREATE TABLE spans (block INTEGER PRIMARY KEY, earliest TEXT NOT NULL, latest TEXT NOT NULL);
    -- There is one writer at a time, so the order of the numbers is that of the commits.
    CREATE TABLE changes (
        seq ID, execution INTEGER NOT NULL UNIQUE, fid TEXT, flow TEXT, "user" TEXT
    );
    CREATE TABLE indexed (upto INTEGER NOT NULL, above INTEGER NOT NULL);
    INSERT INTO indexed VALUES (0, 0);
    CREATE TABLE search (execution INTEGER PRIMARY KEY, words tsvector NOT NULL);
    CREATE INDEX search_by_words ON search USING gin (words);

    CREATE TABLE chunks (
        id ID, execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        first INTEGER NOT NULL, last INTEGER NOT NULL, body BLOB NOT NULL
    );
    -- Parts of a body are read without the rest, which its compression would not allow.
    ALTER TABLE chunks ALTER body SET STORAGE EXTERNAL;
    CREATE UNIQUE INDEX chunks_in_order ON chunks (execution, last);
    CREATE TABLE producers (
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        producer TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (execution, producer)
    );
    CREATE TABLE pickles (
        execution INTEGER PRIMARY KEY REFERENCES executions ON DELETE CASCADE, body TEXT NOT NULL
    );

    CREATE TABLE locks (
        lid TEXT PRIMARY KEY, execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        name TEXT NOT NULL, data TEXT NOT NULL, status TEXT NOT NULL, created TEXT NOT NULL,
        expires REAL NOT NULL, answer TEXT, moments TEXT, hidden TEXT, settled TEXT, by TEXT,
        key TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 1
    );
    CREATE INDEX locks_of_execution ON locks (execution, status);
    CREATE INDEX locks_open ON locks (expires) WHERE status = 'open';
    CREATE INDEX locks_by_status ON locks (status, created, lid);

    CREATE TABLE files (
        execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE, path TEXT NOT NULL,
        sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL, created TEXT NOT NULL, by TEXT NOT NULL,
        PRIMARY KEY (execution, path)
    );
    CREATE INDEX files_by_blob ON files (sha256);
    CREATE TABLE uploads (
        "user" TEXT NOT NULL, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        created TEXT NOT NULL, PRIMARY KEY ("user", sha256)
    );
    CREATE INDEX uploads_by_blob ON uploads (sha256);

    CREATE TABLE steps (
        id ID, execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        key TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, position INTEGER NOT NULL,
        digest TEXT NOT NULL, status TEXT NOT NULL, attempt INTEGER NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0, started REAL NOT NULL, duration_s REAL,
        arguments TEXT NOT NULL, preview TEXT NOT NULL DEFAULT '',
        size_bytes INTEGER NOT NULL DEFAULT 0, blob TEXT, due REAL, child TEXT, message TEXT,
        result BLOB
    );
    CREATE UNIQUE INDEX steps_by_key ON steps (execution, key);
    CREATE INDEX steps_waiting ON steps (execution, message) WHERE status = 'waiting';
    CREATE INDEX steps_due ON steps (due)
        WHERE status = 'waiting' AND due IS NOT NULL AND kind <> 'lock';
    CREATE INDEX steps_by_child ON steps (child) WHERE child IS NOT NULL;
    CREATE INDEX steps_by_blob ON steps (blob) WHERE blob IS NOT NULL;
    CREATE TABLE messages (
        id ID, execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
        name TEXT NOT NULL, data TEXT NOT NULL, moments TEXT, created TEXT NOT NULL,
        by TEXT NOT NULL, taken TEXT, key TEXT, size_bytes INTEGER NOT NULL
    );
    CREATE INDEX messages_of_execution ON messages (execution, taken, name, id, size_bytes);
    CREATE UNIQUE INDEX messages_by_key ON messages (execution, by, key) WHERE key IS NOT NULL;

    CREATE TABLE usage (
        day TEXT NOT NULL, flow TEXT NOT NULL, "user" TEXT NOT NULL, status TEXT NOT NULL,
        bucket INTEGER NOT NULL, executions INTEGER NOT NULL, duration_s REAL NOT NULL,
        event_bytes INTEGER NOT NULL, file_bytes INTEGER NOT NULL, wall_s REAL NOT NULL DEFAULT 0,
        cpu_s REAL NOT NULL DEFAULT 0, peak_memory_bytes INTEGER NOT NULL DEFAULT 0,
        ray_tasks INTEGER NOT NULL DEFAULT 0, stored_bytes INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, flow, "user", status, bucket)
    );

    CREATE TABLE webhooks (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL,
        execution INTEGER REFERENCES executions ON DELETE CASCADE, url TEXT NOT NULL,
        origin TEXT NOT NULL, events TEXT NOT NULL, flows TEXT NOT NULL, "user" TEXT NOT NULL,
        by TEXT NOT NULL, created TEXT NOT NULL, sealed BLOB NOT NULL, former_until REAL,
        disabled TEXT, why TEXT, failures INTEGER NOT NULL DEFAULT 0, last_ok TEXT,
        made TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX webhooks_by_user ON webhooks ("user") WHERE execution IS NULL;
    CREATE UNIQUE INDEX webhooks_by_name ON webhooks (by, made, name) WHERE execution IS NULL;
    CREATE UNIQUE INDEX webhooks_of_execution ON webhooks (execution, kind, by, made, name)
        WHERE execution IS NOT NULL;
    CREATE INDEX webhooks_by_maker ON webhooks (by);
    CREATE TABLE deliveries (
        id ID, message TEXT NOT NULL UNIQUE,
        webhook TEXT NOT NULL REFERENCES webhooks ON DELETE CASCADE, fid TEXT NOT NULL,
        flow TEXT NOT NULL, event TEXT NOT NULL, lid TEXT NOT NULL, created TEXT NOT NULL,
        status TEXT NOT NULL, due REAL, origin TEXT NOT NULL, by TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0, last TEXT, code INTEGER, error TEXT, took_s REAL
    );
    CREATE INDEX deliveries_due ON deliveries (due, origin, by) WHERE due IS NOT NULL;
    CREATE INDEX deliveries_by_webhook ON deliveries (webhook, id);
    CREATE INDEX deliveries_by_fid ON deliveries (fid, id);
    CREATE INDEX deliveries_by_status ON deliveries (status, id);

    CREATE TABLE payments (
        fid TEXT PRIMARY KEY, flow TEXT NOT NULL, "user" TEXT NOT NULL, identifier TEXT NOT NULL,
        input_hash TEXT NOT NULL, inputs TEXT NOT NULL, terms TEXT NOT NULL,
        created REAL NOT NULL, about TEXT NOT NULL, state TEXT NOT NULL, cause TEXT
    );
    CREATE INDEX payments_open ON payments (state, created)
        WHERE state IN ('awaiting', 'paid', 'launched');
"""

TRIGGERS = r"""
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'the audit log is append-only';
    END $$;
    CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF old.ts >= (SELECT before FROM audit_horizon) THEN
            RAISE EXCEPTION 'the audit log is append-only';
        END IF;
        RETURN old;
    END $$;
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        FOR EACH ROW EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
        FOR EACH ROW EXECUTE FUNCTION refuse_removal();

    -- JSON in PostgreSQL has no NUL either.
    CREATE FUNCTION tags_of(tags text) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS
        $$ SELECT json_array_elements_text(replace(tags, '\u0000', '\ufffd')::json) $$;
    CREATE FUNCTION execution_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO tallies VALUES (new.status, 1)
            ON CONFLICT (status) DO UPDATE SET count = tallies.count + 1;
        INSERT INTO spans VALUES (new.id / 1000, new.created, new.created)
            ON CONFLICT (block) DO UPDATE SET earliest = least(spans.earliest, excluded.earliest),
            latest = greatest(spans.latest, excluded.latest)
            WHERE spans.earliest > excluded.earliest OR spans.latest < excluded.latest;
        IF new.tags <> '[]' THEN
            INSERT INTO tags SELECT tag, new.id FROM tags_of(new.tags) AS tag
                ON CONFLICT DO NOTHING;
        END IF;
        IF new.service <> '' THEN
            INSERT INTO changes (execution) VALUES (new.id)
                ON CONFLICT (execution) DO UPDATE SET seq = excluded.seq, fid = NULL, flow = NULL,
                "user" = NULL;
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION execution_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE tallies SET count = count - 1 WHERE status = old.status;
        INSERT INTO tallies VALUES (new.status, 1)
            ON CONFLICT (status) DO UPDATE SET count = tallies.count + 1;
        IF new.service <> '' THEN
            INSERT INTO changes (execution) VALUES (new.id)
                ON CONFLICT (execution) DO UPDATE SET seq = excluded.seq;
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION execution_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE tallies SET count = count - 1 WHERE status = old.status;
        IF old.tags <> '[]' THEN
            DELETE FROM tags WHERE execution = old.id
                AND tag IN (SELECT tag FROM tags_of(old.tags) AS tag);
        END IF;
        IF old.service <> '' THEN
            INSERT INTO changes (execution, fid, flow, "user")
                VALUES (old.id, old.fid, old.flow, old."user")
                ON CONFLICT (execution) DO UPDATE SET seq = excluded.seq, fid = excluded.fid,
                flow = excluded.flow, "user" = excluded."user";
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER execution_added AFTER INSERT ON executions
        FOR EACH ROW EXECUTE FUNCTION execution_added();
    CREATE TRIGGER execution_moved AFTER UPDATE OF status ON executions
        FOR EACH ROW WHEN (old.status IS DISTINCT FROM new.status)
        EXECUTE FUNCTION execution_moved();
    CREATE TRIGGER execution_removed AFTER DELETE ON executions
        FOR EACH ROW EXECUTE FUNCTION execution_removed();
"""
