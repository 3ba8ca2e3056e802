-- What is counted by time.
CREATE TABLE counts (
    -- 0: answered charges, 1: sold units.
    kind      INTEGER NOT NULL,
    -- The code of the failure of charges, empty for approved ones; the SKU of units.
    name      TEXT NOT NULL,
    -- When the quarter hour of charges or the day of units begins, in quarter hours since 1970-01-01T00:00Z.
    start     INTEGER NOT NULL,
    -- As for sales.
    partition TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (kind, name, start, partition)
) STRICT, WITHOUT ROWID;

-- Indexes
-- Charges of all outcomes by time. Few rows: units are not in it.
CREATE INDEX counts_of_charges ON counts (start, name, count) WHERE kind = 0;
