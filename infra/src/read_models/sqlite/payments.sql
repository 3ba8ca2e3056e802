-- In order of arrival, as orders are.
CREATE TABLE payments (
    row_no                INTEGER PRIMARY KEY,
    payment_id            BLOB NOT NULL,
    revision              INTEGER NOT NULL,
    recorded_at           INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    -- Search columns, taken from the payment.
    state                 INTEGER NOT NULL,
    -- NULL: the order ended before the payment was requested.
    order_id              BLOB,
    -- The provider's.
    reference             TEXT,
    -- The code of the failure of a failed payment; else NULL.
    failure               TEXT,
    -- 1 if the payment has failed and can be tried again; else 0.
    declined              INTEGER NOT NULL,
    -- Since when the payment waits for its provider, over all attempts; else NULL.
    awaits_provider_since INTEGER,
    -- When an authorisation that holds money runs out, if the provider says it; else NULL.
    authorized_until      INTEGER,
    -- JSON of RefundTimes.
    times                 TEXT NOT NULL,
    -- JSON of PaymentSummary, for lists.
    summary               TEXT NOT NULL,
    -- JSON of domain::payment::Payment.
    body                  TEXT NOT NULL
) STRICT;

-- Indexes
CREATE UNIQUE INDEX payments_by_id ON payments (payment_id);

-- Payments are listed in order of arrival. The payments of an order are found by the ids that the order
-- names.
CREATE INDEX payments_by_state ON payments (state);
CREATE INDEX payments_by_failure ON payments (failure) WHERE failure IS NOT NULL;
CREATE INDEX payments_by_reference ON payments (reference) WHERE reference IS NOT NULL;

-- Holds few rows at a time.
CREATE INDEX payments_declined ON payments (declined) WHERE declined = 1;
CREATE INDEX payments_declined_of_order ON payments (order_id) WHERE declined = 1;

-- Holds few rows at a time.
CREATE INDEX payments_awaiting_provider ON payments (payment_id, awaits_provider_since)
    WHERE awaits_provider_since IS NOT NULL;

-- Holds the payments that are authorized and not captured.
CREATE INDEX payments_authorized ON payments (authorized_until, payment_id)
    WHERE authorized_until IS NOT NULL;
