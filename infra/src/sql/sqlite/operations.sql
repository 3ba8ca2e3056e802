-- Operational state. No read model: a rebuild leaves it alone.
CREATE TABLE IF NOT EXISTS reactor_positions (
    reactor   TEXT    NOT NULL,
    partition TEXT    NOT NULL,
    store_id  BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    PRIMARY KEY (reactor, partition)
) STRICT, WITHOUT ROWID;

-- Who is told of events. Times are in microseconds since 1970-01-01T00:00Z.
CREATE TABLE IF NOT EXISTS webhook_subscriptions (
    number                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                    BLOB    NOT NULL UNIQUE,
    -- What it was made by; kept when it is deleted, so that a late repetition of the request does not make it anew.
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
    -- Events after this position of the log are delivered.
    after                 INTEGER,
    created_at            INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    deleted_at            INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS webhook_deliveries (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Made from subscription and event.
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
    -- While it is claimed: when the claim ends.
    next_attempt_at   INTEGER,
    claim             BLOB,
    first_attempt_at  INTEGER,
    last_attempt_at   INTEGER,
    finished_at       INTEGER,
    last_status       INTEGER,
    last_error        TEXT
) STRICT;

CREATE INDEX IF NOT EXISTS webhook_deliveries_due
    ON webhook_deliveries (subscription_id, next_attempt_at, number) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS webhook_deliveries_by_status
    ON webhook_deliveries (subscription_id, status, number);
