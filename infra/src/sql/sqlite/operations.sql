-- Operational state. No read model: a rebuild leaves it alone.
CREATE TABLE IF NOT EXISTS reactor_positions (
    reactor   TEXT    NOT NULL,
    partition TEXT    NOT NULL,
    store_id  BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    PRIMARY KEY (reactor, partition)
) STRICT, WITHOUT ROWID;
