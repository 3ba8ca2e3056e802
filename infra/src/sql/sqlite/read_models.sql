-- The read models. Times are microseconds since 1970-01-01T00:00Z, ids are the 16 bytes of a UUID, money is in
-- minor units, and a status or state is a number (see columns.rs). Indexes come from read_models_indexes.sql, so
-- that a rebuild can make them after the rows.

-- The one row says which event log the rows come from (NULL until a projector has begun), and tells rows that were
-- rebuilt from the ones before: what a projector knows of those is worth nothing.
CREATE TABLE log (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    store_id   BLOB,
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO log (only_row, store_id, generation) VALUES (1, NULL, random());

CREATE TABLE checkpoints (
    projection   TEXT NOT NULL,
    partition    TEXT NOT NULL,
    -- Where the source of events goes on: a position of the log, or an offset of Kafka.
    position     INTEGER,
    -- The last event taken in, by its position in the log.
    log_position INTEGER,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (projection, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    projection      TEXT NOT NULL,
    stream          TEXT NOT NULL,
    partition       TEXT NOT NULL,
    event_id        BLOB NOT NULL,
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    parked_at       INTEGER NOT NULL,
    retry_requested INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE stock (
    sku      TEXT PRIMARY KEY,
    on_hand  INTEGER NOT NULL,
    reserved INTEGER NOT NULL CHECK (reserved <= on_hand),
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row exists only while units are held.
CREATE TABLE reservations (
    sku         TEXT NOT NULL,
    order_id    BLOB NOT NULL,
    quantity    INTEGER NOT NULL CHECK (quantity > 0),
    -- Whether the order has ended, so that the sweep finds what must be released without reading all the rest.
    order_ended INTEGER NOT NULL,
    PRIMARY KEY (sku, order_id)
) STRICT, WITHOUT ROWID;

-- Where the events are, in stock streams, that belong to an order. Rows are only ever added.
CREATE TABLE order_stock_events (
    order_id BLOB NOT NULL,
    -- In the log.
    position INTEGER NOT NULL,
    sku      TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;

-- In order of arrival: with the id as the key, each new order would land on, and write, a page of its own.
CREATE TABLE orders (
    row_no         INTEGER PRIMARY KEY,
    order_id       BLOB NOT NULL,
    revision       INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    -- Search columns, taken from the order.
    status         INTEGER NOT NULL,
    customer_id    TEXT,
    placed_at      INTEGER NOT NULL,
    -- NULL unless the order still waits for its payment.
    payment_due_at INTEGER,
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

CREATE TABLE payments (
    row_no                INTEGER PRIMARY KEY,
    payment_id            BLOB NOT NULL,
    revision              INTEGER NOT NULL,
    recorded_at           INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    -- Search columns, taken from the payment.
    state                 INTEGER NOT NULL,
    -- Its updated_at while the provider is still to be asked something; else NULL.
    awaits_provider_since INTEGER,
    -- JSON of domain::payment::Payment.
    body                  TEXT NOT NULL
) STRICT;

-- Each sum twice: by the hour, and by the month for queries over long times.
CREATE TABLE sales (
    -- 0: all orders, 1: by SKU, 2: by country.
    dimension INTEGER NOT NULL,
    -- 0: an hour, 1: a month.
    span      INTEGER NOT NULL,
    currency  TEXT NOT NULL,
    -- When the span begins, in hours since 1970-01-01T00:00Z.
    start     INTEGER NOT NULL,
    -- The SKU or the country; empty for all orders.
    key       TEXT NOT NULL,
    -- Owners of different partitions never write the same row; queries sum over partitions.
    partition TEXT NOT NULL,
    orders    INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    units     INTEGER NOT NULL,
    gross     INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    refunded  INTEGER NOT NULL,
    PRIMARY KEY (dimension, span, currency, start, key, partition)
) STRICT, WITHOUT ROWID;
