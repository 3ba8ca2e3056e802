CREATE TABLE stock (
    sku      TEXT PRIMARY KEY,
    on_hand  INTEGER NOT NULL,
    reserved INTEGER NOT NULL CHECK (reserved <= on_hand),
    revision INTEGER NOT NULL,
    available INTEGER NOT NULL GENERATED ALWAYS AS (on_hand - reserved) VIRTUAL
) STRICT, WITHOUT ROWID;

-- A row exists only while units are held.
CREATE TABLE reservations (
    sku         TEXT NOT NULL,
    order_id    BLOB NOT NULL,
    quantity    INTEGER NOT NULL CHECK (quantity > 0),
    -- Whether the order has ended. The sweep finds the units to release through this, without reading other
    -- rows.
    order_ended INTEGER NOT NULL,
    PRIMARY KEY (sku, order_id)
) STRICT, WITHOUT ROWID;

-- The events of stock streams that belong to an order. Rows are only added.
CREATE TABLE order_stock_events (
    order_id BLOB NOT NULL,
    -- In the log.
    position INTEGER NOT NULL,
    sku      TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;

-- Indexes
CREATE INDEX stock_by_available ON stock (available, sku);
CREATE INDEX reservations_of_ended_orders ON reservations (order_id) WHERE order_ended = 1;
