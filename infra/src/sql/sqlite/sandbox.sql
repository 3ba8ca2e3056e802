-- The ledger of the sandbox: what was charged, and what is still to be told of it.
CREATE TABLE IF NOT EXISTS charges (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    -- When something of it settles by itself, in microseconds since 1970.
    due_at     INTEGER,
    -- The account, as JSON.
    account    TEXT    NOT NULL,
    UNIQUE (payment_id, number)
) STRICT;
CREATE INDEX IF NOT EXISTS charges_due ON charges (due_at) WHERE due_at IS NOT NULL;

-- Which charge a refund belongs to, so that its id names one refund only.
CREATE TABLE IF NOT EXISTS refunds (
    refund_id  BLOB    NOT NULL PRIMARY KEY,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every movement of money once more, one by one: totals are sums over these, not over accounts.
CREATE TABLE IF NOT EXISTS movements (
    sequence   INTEGER PRIMARY KEY,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    currency   TEXT    NOT NULL,
    amount     INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

-- How often something was asked for: chance is drawn anew each time.
CREATE TABLE IF NOT EXISTS attempts (
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    what       TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (payment_id, number, what)
) STRICT, WITHOUT ROWID;

-- Webhooks that nobody has taken yet.
CREATE TABLE IF NOT EXISTS webhooks (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id      TEXT    NOT NULL,
    body            TEXT    NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS webhooks_due ON webhooks (next_attempt_at);

CREATE TABLE IF NOT EXISTS webhooks_ended (
    outcome TEXT    NOT NULL PRIMARY KEY,
    count   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
