ALTER TABLE stock ADD PRIMARY KEY (sku);
ALTER TABLE reservations ADD PRIMARY KEY (sku, order_id);
ALTER TABLE order_stock_events ADD PRIMARY KEY (order_id, position);
ALTER TABLE orders ADD PRIMARY KEY (order_id);
ALTER TABLE order_skus ADD PRIMARY KEY (sku, status, placed_at, order_id);
ALTER TABLE payments ADD PRIMARY KEY (payment_id);
ALTER TABLE sales ADD PRIMARY KEY (dimension, span, currency, start, key, partition);

-- Lists are paged by (placed_at, order_id). A list of any status walks one range per status (five at most), so
-- that no filter ever reads orders it does not show, and each order is indexed once for each kind of list.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, status, placed_at, order_id) WHERE customer_id IS NOT NULL;

-- For the sweep, which looks for reservations of orders that have ended.
CREATE INDEX orders_ended ON orders (order_id) WHERE status IN ('rejected', 'cancelled', 'expired');

-- Payments are listed in order of arrival, and found by their order through the id that the order gives them.
CREATE UNIQUE INDEX payments_by_arrival ON payments (row_no);
CREATE INDEX payments_by_state ON payments (state, row_no);

-- What time itself brings about. Few rows are in these at a time.
CREATE INDEX orders_awaiting_payment ON orders (payment_due_at, order_id) WHERE payment_due_at IS NOT NULL;
CREATE INDEX payments_awaiting_provider ON payments (payment_id, awaits_provider_since)
    WHERE awaits_provider_since IS NOT NULL;
