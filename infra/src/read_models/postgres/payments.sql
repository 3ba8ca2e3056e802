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
    -- NULL as the state.
    order_id              uuid,
    -- The provider's.
    reference             text COLLATE "C",
    -- The code of the failure of a failed payment; else NULL.
    failure               text COLLATE "C",
    -- The payment has failed and can be tried again.
    declined              boolean       NOT NULL,
    -- updated_at while the payment waits for a request to its provider; else NULL.
    awaits_provider_since timestamptz,
    -- When an authorisation that holds money runs out, if the provider says it; else NULL.
    authorized_until      timestamptz,
    -- RefundTimes.
    times                 json          NOT NULL,
    -- PaymentSummary, for lists.
    summary               json          NOT NULL,
    -- domain::payment::Payment.
    body                  json          NOT NULL
) WITH (
    fillfactor = 80,
    -- A count reads its index alone where a vacuum has marked the pages of the table as visible to all. By default, Postgres
    -- waits until a fifth of the rows has changed.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000
);

-- Indexes
ALTER TABLE payments ADD PRIMARY KEY (payment_id);

-- Payments are listed in order of arrival. The payments of an order are found by the ids that the order
-- names.
CREATE UNIQUE INDEX payments_by_arrival ON payments (row_no);
CREATE INDEX payments_by_state ON payments (state, row_no);
CREATE INDEX payments_by_failure ON payments (failure, row_no) WHERE failure IS NOT NULL;
CREATE INDEX payments_by_reference ON payments (reference, row_no) WHERE reference IS NOT NULL;

-- Holds few rows at a time.
CREATE INDEX payments_declined ON payments (row_no) WHERE declined;
CREATE INDEX payments_declined_of_order ON payments (order_id) WHERE declined;

-- Holds few rows at a time.
CREATE INDEX payments_awaiting_provider ON payments (payment_id, awaits_provider_since)
    WHERE awaits_provider_since IS NOT NULL;

-- Holds the payments that are authorized and not captured.
CREATE INDEX payments_authorized ON payments (authorized_until, payment_id)
    WHERE authorized_until IS NOT NULL;
