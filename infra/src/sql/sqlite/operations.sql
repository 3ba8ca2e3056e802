-- Operational state. Not a read model: a rebuild does not touch it.
CREATE TABLE IF NOT EXISTS reactor_positions (
    reactor   TEXT    NOT NULL,
    partition TEXT    NOT NULL,
    store_id  BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    -- The last event before the position: the JSON of an EventMark. NULL if an earlier version wrote the row.
    last_event TEXT,
    PRIMARY KEY (reactor, partition)
) STRICT, WITHOUT ROWID;

-- Reactions of the process manager that failed, with the later events of their streams. Times are in microseconds since
-- 1970-01-01T00:00Z.
CREATE TABLE IF NOT EXISTS parked_reactions (
    store_id        BLOB    NOT NULL,
    stream          TEXT    NOT NULL,
    -- The first event without a durable reaction.
    revision        INTEGER NOT NULL,
    event_id        BLOB    NOT NULL,
    event_type      TEXT    NOT NULL,
    -- The last event that waits.
    last_revision   INTEGER NOT NULL,
    parked_at       INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    retry_requested INTEGER NOT NULL,
    PRIMARY KEY (store_id, stream)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS parked_reactions_due ON parked_reactions (store_id, next_attempt_at, stream);
CREATE INDEX IF NOT EXISTS parked_reactions_by_event ON parked_reactions (event_id);

-- Subscriptions to webhooks. Times are in microseconds since 1970-01-01T00:00Z.
CREATE TABLE IF NOT EXISTS webhook_subscriptions (
    number                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                    BLOB    NOT NULL UNIQUE,
    -- The request that made it. Kept after deletion, so that a late retry of the request does not make it
    -- again.
    key                   TEXT    NOT NULL,
    fingerprint           TEXT    NOT NULL,
    url                   TEXT    NOT NULL,
    -- A JSON array.
    event_types           TEXT    NOT NULL,
    description           TEXT,
    status                TEXT    NOT NULL,
    secret                TEXT    NOT NULL,
    previous_secret       TEXT,
    previous_secret_until INTEGER,
    rotated_by            BLOB,
    -- Only events after this position of the log are delivered.
    after                 INTEGER,
    created_at            INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    deleted_at            INTEGER,
    -- The first of the failures in a row that stopped the receiver's lane.
    failing_since         INTEGER,
    -- Every event up to this position of the log is queued; later ones up to skipped_to are read from the log.
    behind_after          INTEGER,
    skipped_to            INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS webhook_deliveries (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Derived from subscription and event.
    id                BLOB    NOT NULL UNIQUE,
    subscription_id   BLOB    NOT NULL,
    event_id          BLOB    NOT NULL,
    event_type        TEXT    NOT NULL,
    stream            TEXT    NOT NULL,
    revision          INTEGER NOT NULL,
    position          INTEGER NOT NULL,
    recorded_at       INTEGER NOT NULL,
    order_id          BLOB    NOT NULL,
    sequence          INTEGER NOT NULL,
    previous_sequence INTEGER,
    status            TEXT    NOT NULL,
    attempts          INTEGER NOT NULL DEFAULT 0,
    queued_at         INTEGER NOT NULL,
    -- Under a lease: when the lease ends.
    next_attempt_at   INTEGER,
    claim             BLOB,
    first_attempt_at  INTEGER,
    last_attempt_at   INTEGER,
    finished_at       INTEGER,
    last_status       INTEGER,
    last_error        TEXT,
    -- Who caused the event: the JSON of an Actor. NULL if an earlier build queued the delivery.
    actor             TEXT
) STRICT;

-- The API keys of callers. Times are in microseconds since 1970-01-01T00:00Z.
CREATE TABLE IF NOT EXISTS api_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    principal    TEXT    NOT NULL,
    -- A JSON array.
    scopes       TEXT    NOT NULL,
    -- SHA-256. The secret itself is stored nowhere.
    secret_hash  BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    -- Written at most once a minute.
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

-- The last comparison of each period with the books of a payment provider.
CREATE TABLE IF NOT EXISTS reconciliations (
    provider    TEXT    NOT NULL,
    -- Inclusive and exclusive.
    period_from INTEGER NOT NULL,
    period_to   INTEGER NOT NULL,
    compared_at INTEGER NOT NULL,
    -- How many.
    differences INTEGER NOT NULL,
    recorded    INTEGER NOT NULL,
    -- JSON of a Reconciliation.
    found       TEXT    NOT NULL,
    PRIMARY KEY (period_from, provider)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS webhook_deliveries_due
    ON webhook_deliveries (subscription_id, next_attempt_at, number) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS webhook_deliveries_by_status
    ON webhook_deliveries (subscription_id, status, number);
