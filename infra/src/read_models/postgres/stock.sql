-- Rows are updated often: free space in each page keeps the new row beside the old one.
CREATE TABLE stock (
    sku      text COLLATE "C" NOT NULL,
    on_hand  bigint           NOT NULL,
    reserved bigint           NOT NULL CHECK (reserved <= on_hand),
    revision bigint           NOT NULL,
    available bigint          NOT NULL GENERATED ALWAYS AS (on_hand - reserved) STORED
) WITH (fillfactor = 50);

-- A row exists only while units are held.
CREATE TABLE reservations (
    sku      text COLLATE "C" NOT NULL,
    order_id uuid             NOT NULL,
    quantity bigint           NOT NULL CHECK (quantity > 0),
    -- Whether the order has ended: waits are found through this. A mark follows the commit of the reservation or of the
    -- end: see ended_orders.rs.
    order_ended boolean       NOT NULL DEFAULT false
);

-- The events of stock streams that belong to an order. Rows are only added.
CREATE TABLE order_stock_events (
    order_id uuid             NOT NULL,
    -- In the log.
    position bigint           NOT NULL,
    sku      text COLLATE "C" NOT NULL,
    revision bigint           NOT NULL
);

-- Indexes
ALTER TABLE stock ADD PRIMARY KEY (sku);
CREATE INDEX stock_by_available ON stock (available, sku);
ALTER TABLE reservations ADD PRIMARY KEY (sku, order_id);
-- Holds few rows at a time.
CREATE INDEX reservations_of_ended_orders ON reservations (order_id) WHERE order_ended;
ALTER TABLE order_stock_events ADD PRIMARY KEY (order_id, position);
