-- What is counted by time.
CREATE TABLE counts (
    -- 0: answered charges, 1: sold units.
    kind      smallint         NOT NULL,
    -- The code of the failure of charges, empty for approved ones; the SKU of units.
    name      text COLLATE "C" NOT NULL,
    -- When the quarter hour of charges or the day of units begins, in quarter hours since 1970-01-01T00:00Z.
    start     bigint           NOT NULL,
    -- As for sales.
    partition text COLLATE "C" NOT NULL,
    count     bigint           NOT NULL,
    PRIMARY KEY (kind, name, start, partition)
) WITH (fillfactor = 80);

-- Indexes
-- Charges of all outcomes by time. Few rows: units are not in it.
CREATE INDEX counts_of_charges ON counts (start, name) WHERE kind = 0;
