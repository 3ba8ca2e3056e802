-- The event store: one append-only log of events in streams.
-- PRAGMA application_id marks the file as Orderly's, PRAGMA user_version is the version of this schema.

CREATE TABLE meta (
    -- Names this log; a restored backup has another one.
    store_id TEXT NOT NULL
) STRICT;

CREATE TABLE streams (
    stream_no INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    -- The first 48 bits of the SHA-256 of the name. An index on it is a third of the size of one on the name, and its
    -- random keys are most of what a new stream costs. The writer keeps the names unique.
    name_hash INTEGER NOT NULL
) STRICT;

CREATE INDEX streams_by_name_hash ON streams (name_hash);

-- No index on id: random unique keys would cost two thirds of the write rate. A retry is recognised by comparing ids
-- at the revisions it names. No foreign key: only the writer inserts, and it has the stream at hand.
CREATE TABLE events (
    position    INTEGER PRIMARY KEY,
    stream_no   INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    type        TEXT    NOT NULL,
    data        TEXT    NOT NULL,
    metadata    TEXT    NOT NULL,
    -- Microseconds since 1970-01-01 UTC; never decreases with the position.
    recorded_at INTEGER NOT NULL,
    UNIQUE (stream_no, revision)
) STRICT;

-- For people with the sqlite3 shell: SELECT * FROM event_log WHERE stream = 'stock-85123A'.
CREATE VIEW event_log AS
SELECT position,
       name AS stream,
       revision,
       type,
       strftime('%Y-%m-%dT%H:%M:%fZ', recorded_at / 1000000.0, 'unixepoch') AS recorded_at,
       data,
       metadata,
       lower(hex(id)) AS id
FROM events
JOIN streams USING (stream_no);
