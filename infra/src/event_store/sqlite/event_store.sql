-- The event store: one append-only log of events in streams.
-- PRAGMA application_id marks the file as an Orderly event store. PRAGMA user_version is the schema version.

CREATE TABLE meta (
    -- The id of this log. A backup has another one.
    store_id        TEXT    NOT NULL,
    -- Events up to this position may lack a checksum, because an earlier build stored them.
    unchecked_up_to INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE streams (
    stream_no INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    -- The first 48 bits of the SHA-256 of the name. The writer keeps names unique; there is no constraint.
    name_hash INTEGER NOT NULL
) STRICT;

-- Finds a stream by its name. The keys are random, so a new stream would write one page. The writer therefore
-- inserts streams later than it creates them, many at a time and in key order.
CREATE TABLE stream_index (
    name_hash INTEGER NOT NULL,
    stream_no INTEGER NOT NULL,
    PRIMARY KEY (name_hash, stream_no)
) STRICT, WITHOUT ROWID;

-- One row: all streams up to this number are in the index.
CREATE TABLE stream_index_progress (
    up_to INTEGER NOT NULL
) STRICT;
INSERT INTO stream_index_progress (up_to) VALUES (0);

-- No index on id: random unique keys would cost two thirds of the write rate. The writer recognises a retry
-- by its ids at the expected revisions. No foreign key: only the writer inserts, and it has just read or
-- created the stream.
CREATE TABLE events (
    position    INTEGER PRIMARY KEY,
    stream_no   INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    type        TEXT    NOT NULL,
    data        TEXT    NOT NULL,
    metadata    TEXT    NOT NULL,
    -- Microseconds since 1970-01-01 UTC. Never decreases as the position increases.
    recorded_at INTEGER NOT NULL,
    -- CRC-32 of all other columns and of the name of the stream (checksum.rs). The last column, so that the
    -- upgrade of an earlier file can add it without a rewrite.
    checksum    INTEGER,
    UNIQUE (stream_no, revision)
) STRICT;

-- For the sqlite3 shell: SELECT * FROM event_log WHERE stream = 'stock-85123A'.
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
