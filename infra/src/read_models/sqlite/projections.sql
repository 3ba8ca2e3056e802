-- In all tables of the read models: times are microseconds since 1970-01-01T00:00Z, ids are the 16 bytes of a
-- UUID, money is in minor units, and a status or state is a number (see the Rust file beside each SQL file).

-- The event log that the rows come from (NULL until a projector has started), and the generation of the rows.
-- A rebuild gives a new generation: projectors then drop their cached rows.
CREATE TABLE log (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    store_id   BLOB,
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO log (only_row, store_id, generation) VALUES (1, NULL, random());

CREATE TABLE checkpoints (
    projection   TEXT NOT NULL,
    partition    TEXT NOT NULL,
    -- Where the source of events continues: a position of the log, or an offset of Kafka.
    position     INTEGER,
    -- Position in the log of the last event that the rows reflect, and that event: the JSON of an EventMark.
    log_position INTEGER,
    last_event   TEXT,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (projection, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    projection      TEXT NOT NULL,
    stream          TEXT NOT NULL,
    partition       TEXT NOT NULL,
    event_id        BLOB NOT NULL,
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    parked_at       INTEGER NOT NULL,
    retry_requested INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, stream)
) STRICT, WITHOUT ROWID;
