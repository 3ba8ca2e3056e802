-- The last comparison of each period with the books of a payment provider.

CREATE TABLE reconciliations (
    provider    text        COLLATE "C" NOT NULL,
    -- Inclusive and exclusive.
    period_from timestamptz NOT NULL,
    period_to   timestamptz NOT NULL,
    compared_at timestamptz NOT NULL,
    -- How many.
    differences bigint      NOT NULL,
    recorded    bigint      NOT NULL,
    -- JSON of a Reconciliation.
    found       text        NOT NULL,
    PRIMARY KEY (period_from, provider)
);
