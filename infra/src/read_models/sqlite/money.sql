-- Money that moved, by the quarter hour.
CREATE TABLE money (
    currency  TEXT NOT NULL,
    -- When the quarter hour begins, in quarter hours since 1970-01-01T00:00Z.
    start     INTEGER NOT NULL,
    -- As for sales.
    partition TEXT NOT NULL,
    -- As for sales.
    captured_high INTEGER NOT NULL,
    captured      INTEGER NOT NULL CHECK (captured BETWEEN 0 AND 4294967295),
    refunded_high INTEGER NOT NULL,
    refunded      INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND 4294967295),
    disputed_high INTEGER NOT NULL,
    disputed      INTEGER NOT NULL CHECK (disputed BETWEEN 0 AND 4294967295),
    PRIMARY KEY (currency, start, partition)
) STRICT, WITHOUT ROWID;
