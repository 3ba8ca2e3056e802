-- In order of arrival: with the id as the key, each new order would write a random page of its own.
CREATE TABLE orders (
    row_no         INTEGER PRIMARY KEY,
    order_id       BLOB NOT NULL,
    revision       INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    -- Search columns, taken from the order.
    status            INTEGER NOT NULL,
    -- read_models/codes.rs has the numbers of these two and of the terms.
    payment_status    INTEGER NOT NULL,
    fulfilment_status INTEGER NOT NULL,
    customer_id    TEXT,
    reference      TEXT,
    country        TEXT,
    placed_at      INTEGER NOT NULL,
    currency       TEXT NOT NULL,
    -- In minor units.
    total          INTEGER NOT NULL,
    -- NULL unless the order still waits for its payment.
    payment_due_at INTEGER,
    -- 1 if units can be shipped now; else 0.
    to_ship        INTEGER NOT NULL,
    -- 1 if more is paid than is owed, and if a refund is not paid out yet; else 0.
    overpaid       INTEGER NOT NULL,
    refund_due     INTEGER NOT NULL,
    terms          INTEGER NOT NULL,
    -- From when on money is overdue. NULL unless money of an order that does not expire is due.
    overdue_from   INTEGER,
    -- JSON of OrderTimes.
    times          TEXT NOT NULL,
    -- JSON of OrderSummary, for lists.
    summary        TEXT NOT NULL,
    -- JSON of domain::order::Order.
    body           TEXT NOT NULL
) STRICT;

-- The orders that contain a SKU, by status, newest last.
CREATE TABLE order_skus (
    sku       TEXT NOT NULL,
    status    INTEGER NOT NULL,
    placed_at INTEGER NOT NULL,
    order_id  BLOB NOT NULL,
    PRIMARY KEY (sku, status, placed_at, order_id)
) STRICT, WITHOUT ROWID;

-- Indexes
-- Ids are random, so this index costs most to update: it holds nothing but the id.
CREATE UNIQUE INDEX orders_by_id ON orders (order_id);

-- Lists are paged by a key and the id. Most lists have the key placed_at. A list of any status walks one range per
-- status (five at most), so no filter reads orders that it does not show, and each kind of list indexes an order once.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, status, placed_at, order_id) WHERE customer_id IS NOT NULL;

-- These columns never change, so an order is indexed once, when it is placed.
CREATE INDEX orders_by_reference ON orders (reference, placed_at, order_id) WHERE reference IS NOT NULL;
CREATE INDEX orders_by_country ON orders (country, placed_at, order_id) WHERE country IS NOT NULL;
CREATE INDEX orders_by_total ON orders (currency, total, order_id);

CREATE INDEX orders_by_update ON orders (updated_at, order_id);

-- Almost all orders of a shop may be prepaid, paid or not due, and unfulfilled, shipped or delivered: they are listed by
-- status.
CREATE INDEX orders_by_terms ON orders (terms, status, placed_at, order_id) WHERE terms > 0;
CREATE INDEX orders_by_payment_status ON orders (payment_status, status, placed_at, order_id)
    WHERE payment_status > 1;
CREATE INDEX orders_by_fulfilment_status ON orders (fulfilment_status, status, placed_at, order_id)
    WHERE fulfilment_status > 2;

-- These hold few rows at a time.
CREATE INDEX orders_to_ship ON orders (placed_at, order_id) WHERE to_ship = 1;
CREATE INDEX orders_overpaid ON orders (placed_at, order_id) WHERE overpaid = 1;
CREATE INDEX orders_refund_due ON orders (placed_at, order_id) WHERE refund_due = 1;
CREATE INDEX orders_overdue ON orders (overdue_from, order_id) WHERE overdue_from IS NOT NULL;
CREATE INDEX orders_awaiting_payment ON orders (payment_due_at, order_id) WHERE payment_due_at IS NOT NULL;
