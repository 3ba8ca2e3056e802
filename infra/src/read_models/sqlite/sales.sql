-- Each sum twice: by the quarter hour, and by the month for queries over long times.
CREATE TABLE sales (
    -- 0: all orders, 1: by SKU, 2: by country.
    dimension INTEGER NOT NULL,
    -- 0: a quarter hour, 1: a month.
    span      INTEGER NOT NULL,
    currency  TEXT NOT NULL,
    -- When the span begins, in quarter hours since 1970-01-01T00:00Z.
    start     INTEGER NOT NULL,
    -- The SKU or the country; empty for all orders, and for what belongs to no SKU.
    key       TEXT NOT NULL,
    -- Owners of different partitions never write the same row; queries sum over partitions.
    partition TEXT NOT NULL,
    orders    INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    units     INTEGER NOT NULL,
    -- Money has 96 bits: name_high * 2^32 + name, where name is between 0 and 2^32 - 1. SQLite adds 64 bits at
    -- most, and a sum of name or of name_high over 2^31 rows has fewer.
    gross_high     INTEGER NOT NULL,
    gross          INTEGER NOT NULL CHECK (gross BETWEEN 0 AND 4294967295),
    discounts_high INTEGER NOT NULL,
    discounts      INTEGER NOT NULL CHECK (discounts BETWEEN 0 AND 4294967295),
    tax_high       INTEGER NOT NULL,
    tax            INTEGER NOT NULL CHECK (tax BETWEEN 0 AND 4294967295),
    shipping_high  INTEGER NOT NULL,
    shipping       INTEGER NOT NULL CHECK (shipping BETWEEN 0 AND 4294967295),
    fees_high      INTEGER NOT NULL,
    fees           INTEGER NOT NULL CHECK (fees BETWEEN 0 AND 4294967295),
    cancelled_high INTEGER NOT NULL,
    cancelled      INTEGER NOT NULL CHECK (cancelled BETWEEN 0 AND 4294967295),
    refunded_high  INTEGER NOT NULL,
    refunded       INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND 4294967295),
    PRIMARY KEY (dimension, span, currency, start, key, partition)
) STRICT, WITHOUT ROWID;
