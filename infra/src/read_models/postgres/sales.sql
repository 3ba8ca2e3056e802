-- Each sum twice: by the quarter hour, and by the month for queries over long times.
CREATE TABLE sales (
    dimension sales_dimension  NOT NULL,
    span      sales_span       NOT NULL,
    currency  text COLLATE "C" NOT NULL,
    -- When the span begins, in quarter hours since 1970-01-01T00:00Z.
    start     bigint           NOT NULL,
    -- The SKU or the country; empty for all orders, and for what belongs to no SKU.
    key       text COLLATE "C" NOT NULL,
    -- Owners of different partitions never write the same row; queries sum over partitions.
    partition text COLLATE "C" NOT NULL,
    orders    bigint           NOT NULL,
    lines     bigint           NOT NULL,
    units     bigint           NOT NULL,
    gross     numeric(28)      NOT NULL,
    discounts numeric(28)      NOT NULL,
    tax       numeric(28)      NOT NULL,
    shipping  numeric(28)      NOT NULL,
    fees      numeric(28)      NOT NULL,
    cancelled numeric(28)      NOT NULL,
    refunded  numeric(28)      NOT NULL,
    PRIMARY KEY (dimension, span, currency, start, key, partition)
) WITH (fillfactor = 80);
