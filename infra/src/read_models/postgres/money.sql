-- Money that moved, by the quarter hour.
CREATE TABLE money (
    currency  text COLLATE "C" NOT NULL,
    -- When the quarter hour begins, in quarter hours since 1970-01-01T00:00Z.
    start     bigint           NOT NULL,
    -- As for sales.
    partition text COLLATE "C" NOT NULL,
    captured  numeric(28)      NOT NULL,
    refunded  numeric(28)      NOT NULL,
    disputed  numeric(28)      NOT NULL,
    PRIMARY KEY (currency, start, partition)
) WITH (fillfactor = 80);
