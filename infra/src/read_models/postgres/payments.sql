CREATE TABLE payments (
    -- In order of arrival.
    row_no                bigint GENERATED ALWAYS AS IDENTITY,
    payment_id            uuid          NOT NULL,
    revision              bigint        NOT NULL,
    recorded_at           timestamptz   NOT NULL,
    updated_at            timestamptz   NOT NULL,
    -- Search columns, taken from the payment.
    -- NULL: the order ended before the payment was requested.
    state                 payment_state,
    -- updated_at while the payment waits for a request to its provider; else NULL.
    awaits_provider_since timestamptz,
    -- When an authorisation that holds money runs out, if the provider says it; else NULL.
    authorized_until      timestamptz,
    -- PaymentSummary, for lists.
    summary               json          NOT NULL,
    -- domain::payment::Payment.
    body                  json          NOT NULL
) WITH (fillfactor = 80);

-- Indexes
ALTER TABLE payments ADD PRIMARY KEY (payment_id);

-- Payments are listed in order of arrival. The payments of an order are found by the ids that the order
-- names.
CREATE UNIQUE INDEX payments_by_arrival ON payments (row_no);
CREATE INDEX payments_by_state ON payments (state, row_no);

-- Holds few rows at a time.
CREATE INDEX payments_awaiting_provider ON payments (payment_id, awaits_provider_since)
    WHERE awaits_provider_since IS NOT NULL;

-- Holds the payments that are authorized and not captured.
CREATE INDEX payments_authorized ON payments (authorized_until, payment_id)
    WHERE authorized_until IS NOT NULL;
