CREATE TABLE orders (
    order_id       uuid         NOT NULL,
    revision       bigint       NOT NULL,
    recorded_at    timestamptz  NOT NULL,
    updated_at     timestamptz  NOT NULL,
    -- Search columns, taken from the order.
    status            order_status NOT NULL,
    -- read_models/codes.rs has the numbers of these two and of the terms.
    payment_status    smallint     NOT NULL,
    fulfilment_status smallint     NOT NULL,
    customer_id    text COLLATE "C",
    reference      text COLLATE "C",
    country        text COLLATE "C",
    placed_at      timestamptz  NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    -- In minor units.
    total          bigint       NOT NULL,
    -- NULL unless the order still waits for its payment.
    payment_due_at timestamptz,
    -- Units can be shipped now.
    to_ship        boolean      NOT NULL,
    -- More is paid than is owed; a refund is not paid out yet.
    overpaid       boolean      NOT NULL,
    refund_due     boolean      NOT NULL,
    terms          smallint     NOT NULL,
    -- From when on money is overdue. NULL unless money of an order that does not expire is due.
    overdue_from   timestamptz,
    -- OrderTimes.
    times          json         NOT NULL,
    -- OrderSummary, for lists.
    summary        json         NOT NULL,
    -- domain::order::Order. Not jsonb: it is read as a whole, byte for byte as it was written.
    body           json         NOT NULL
) WITH (
    fillfactor = 80,
    -- A count reads its index alone where a vacuum has marked the pages of the table as visible to all. By default, Postgres
    -- waits until a fifth of the rows has changed.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000
);

-- The orders that contain a SKU, by status, newest last.
CREATE TABLE order_skus (
    sku       text COLLATE "C" NOT NULL,
    status    order_status     NOT NULL,
    placed_at timestamptz      NOT NULL,
    order_id  uuid             NOT NULL
);

-- Indexes
ALTER TABLE orders ADD PRIMARY KEY (order_id);
ALTER TABLE order_skus ADD PRIMARY KEY (sku, status, placed_at, order_id);

-- Lists are paged by a key and the id. Most lists have the key placed_at. A list of any status walks one range per
-- status (five at most), so no filter reads orders that it does not show, and each kind of list indexes an order once.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, status, placed_at, order_id) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_by_reference ON orders (reference, placed_at, order_id) WHERE reference IS NOT NULL;
CREATE INDEX orders_by_country ON orders (country, placed_at, order_id) WHERE country IS NOT NULL;
CREATE INDEX orders_by_total ON orders (currency, total, order_id);
CREATE INDEX orders_by_update ON orders (updated_at, order_id);

-- For the sweep, which looks for reservations of orders that have ended.
CREATE INDEX orders_ended ON orders (order_id) WHERE status IN ('rejected', 'cancelled', 'expired');

-- Almost all orders of a shop may be prepaid, paid or not due, and unfulfilled, shipped or delivered: they are listed by
-- status.
CREATE INDEX orders_by_terms ON orders (terms, status, placed_at, order_id) WHERE terms > 0;
CREATE INDEX orders_by_payment_status ON orders (payment_status, status, placed_at, order_id)
    WHERE payment_status > 1;
CREATE INDEX orders_by_fulfilment_status ON orders (fulfilment_status, status, placed_at, order_id)
    WHERE fulfilment_status > 2;

-- These hold few rows at a time.
CREATE INDEX orders_to_ship ON orders (placed_at, order_id) WHERE to_ship;
CREATE INDEX orders_overpaid ON orders (placed_at, order_id) WHERE overpaid;
CREATE INDEX orders_refund_due ON orders (placed_at, order_id) WHERE refund_due;
CREATE INDEX orders_overdue ON orders (overdue_from, order_id) WHERE overdue_from IS NOT NULL;
CREATE INDEX orders_awaiting_payment ON orders (payment_due_at, order_id) WHERE payment_due_at IS NOT NULL;
