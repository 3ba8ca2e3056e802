-- The event store: one append-only log of events in streams.
-- PRAGMA application_id marks the file as Orderly's, PRAGMA user_version is the version of this schema.

CREATE TABLE meta (
    -- Names this log; a restored backup has another one.
    store_id TEXT NOT NULL
) STRICT;

CREATE TABLE streams (
    stream_no INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    -- The first 48 bits of the SHA-256 of the name. The writer keeps the names unique.
    name_hash INTEGER NOT NULL
) STRICT;

-- Where a stream is found by its name. Its keys are random, so each new stream would land on, and write, a page of its
-- own: the writer puts streams in here some time after they were made, many at a time and in the order of the keys.
CREATE TABLE stream_index (
    name_hash INTEGER NOT NULL,
    stream_no INTEGER NOT NULL,
    PRIMARY KEY (name_hash, stream_no)
) STRICT, WITHOUT ROWID;

-- The one row says up to which stream all are in the index.
CREATE TABLE stream_index_progress (
    up_to INTEGER NOT NULL
) STRICT;
INSERT INTO stream_index_progress (up_to) VALUES (0);

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
