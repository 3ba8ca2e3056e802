-- Ids are random, so these are the costly ones to keep: narrow, and no more of them than queries need.
CREATE UNIQUE INDEX orders_by_id ON orders (order_id);
CREATE UNIQUE INDEX payments_by_id ON payments (payment_id);

-- Lists are paged by (placed_at, order_id). A list of any status walks one range per status (five at most), so
-- that no filter ever reads orders it does not show, and each order is indexed once for each kind of list.
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, status, placed_at, order_id) WHERE customer_id IS NOT NULL;

-- Payments are listed in order of arrival, and found by their order through the id that the order gives them.
CREATE INDEX payments_by_state ON payments (state);

CREATE INDEX reservations_of_ended_orders ON reservations (order_id) WHERE order_ended = 1;

-- What time itself brings about. Few rows are in these at a time.
CREATE INDEX orders_awaiting_payment ON orders (payment_due_at, order_id) WHERE payment_due_at IS NOT NULL;
CREATE INDEX payments_awaiting_provider ON payments (payment_id, awaits_provider_since)
    WHERE awaits_provider_since IS NOT NULL;
