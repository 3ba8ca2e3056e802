-- The ledger of the sandbox: charges, and notices that are not yet delivered.
CREATE TABLE IF NOT EXISTS charges (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    -- When the charge or one of its refunds settles, in microseconds since 1970.
    due_at     INTEGER,
    -- The account (`account.rs`), as JSON.
    account    TEXT    NOT NULL,
    UNIQUE (payment_id, number)
) STRICT;
CREATE INDEX IF NOT EXISTS charges_due ON charges (due_at) WHERE due_at IS NOT NULL;

-- The charge of each refund, so that one id names one refund.
CREATE TABLE IF NOT EXISTS refunds (
    refund_id  BLOB    NOT NULL PRIMARY KEY,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every movement of money. Totals are sums over these rows, so they check the accounts independently.
CREATE TABLE IF NOT EXISTS movements (
    sequence   INTEGER PRIMARY KEY,
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    currency   TEXT    NOT NULL,
    amount     INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

-- Counts the requests for each operation. Faults are drawn separately for each attempt.
CREATE TABLE IF NOT EXISTS attempts (
    payment_id BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    what       TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (payment_id, number, what)
) STRICT, WITHOUT ROWID;

-- Notices that the receiver has not accepted yet.
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
