-- The read models have a schema of their own, which a rebuild replaces as a whole. In all tables money is in
-- minor units, and texts are compared byte by byte.

-- The event log that the rows come from (NULL until a projector has started), and the generation of the rows.
-- A rebuild gives a new generation: projectors then drop their cached rows. A transaction that uses several
-- tables reads this one first; a rebuild then cannot publish before it ends.
CREATE TABLE log (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    schema_version integer NOT NULL,
    store_id       uuid,
    generation     bigint  NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0)
);

CREATE TABLE checkpoints (
    projection   projection       NOT NULL,
    partition    text COLLATE "C" NOT NULL,
    -- In the partition, and in the event log; NULL: at the beginning.
    position     bigint,
    log_position bigint,
    -- The event at log_position: the JSON of an EventMark.
    last_event   text,
    updated_at   timestamptz      NOT NULL,
    PRIMARY KEY (projection, partition)
) WITH (fillfactor = 50);

CREATE TABLE parked (
    projection      projection       NOT NULL,
    stream          text COLLATE "C" NOT NULL,
    partition       text COLLATE "C" NOT NULL,
    event_id        uuid             NOT NULL,
    revision        bigint           NOT NULL,
    position        bigint           NOT NULL,
    reason          text             NOT NULL,
    parked_at       timestamptz      NOT NULL,
    retry_requested boolean          NOT NULL DEFAULT false,
    PRIMARY KEY (projection, stream)
);
