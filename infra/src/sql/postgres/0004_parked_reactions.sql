-- Reactions of the process manager that failed, with the later events of their streams.

CREATE TABLE parked_reactions (
    store_id        uuid        NOT NULL,
    stream          text        COLLATE "C" NOT NULL,
    -- The first event without a durable reaction.
    revision        bigint      NOT NULL,
    event_id        uuid        NOT NULL,
    event_type      text        NOT NULL,
    -- The last event that waits.
    last_revision   bigint      NOT NULL,
    parked_at       timestamptz NOT NULL,
    attempts        integer     NOT NULL,
    reason          text        NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    retry_requested boolean     NOT NULL,
    PRIMARY KEY (store_id, stream)
);

CREATE INDEX parked_reactions_due ON parked_reactions (store_id, next_attempt_at, stream);
CREATE INDEX parked_reactions_by_event ON parked_reactions (event_id);
