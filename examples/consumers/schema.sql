-- The tables of both consumers, in Postgres. Replace the second half by what your shop wants to know.

-- Where to continue. A consumer changes a row in the transaction of the rows below.
CREATE TABLE partitions (
  topic text NOT NULL,
  partition integer NOT NULL,
  -- The offset after the last message whose rows are stored.
  next_offset bigint NOT NULL,
  -- The event store of the topic. Null before the first event.
  source text,
  -- Why no further message of the partition can be read. Watch it: somebody must act.
  stopped text,
  PRIMARY KEY (topic, partition)
);

-- One row for each event. It refuses repetitions and shows gaps.
CREATE TABLE events (
  stream text NOT NULL,
  revision bigint NOT NULL,
  event_id uuid NOT NULL UNIQUE,
  type text NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (stream, revision)
);

-- From orderly.orders.
CREATE TABLE orders (
  order_id uuid PRIMARY KEY,
  status text NOT NULL,
  currency text NOT NULL,
  total bigint NOT NULL,
  placed_at timestamptz NOT NULL
);

CREATE TABLE order_lines (
  order_id uuid NOT NULL,
  line integer NOT NULL,
  sku text NOT NULL,
  quantity bigint NOT NULL,
  unit_price bigint NOT NULL,
  PRIMARY KEY (order_id, line)
);

-- Sums of the orders that were allocated, by the day (UTC) they were placed. `amount` is quantity times unit price.
CREATE TABLE sales (
  day date NOT NULL,
  sku text NOT NULL,
  currency text NOT NULL,
  units bigint NOT NULL,
  amount bigint NOT NULL,
  PRIMARY KEY (day, sku, currency)
);

-- From orderly.payments. No foreign key: the payment may arrive before its order.
CREATE TABLE payments (
  payment_id uuid PRIMARY KEY,
  order_id uuid NOT NULL,
  captured bigint NOT NULL DEFAULT 0,
  refunded bigint NOT NULL DEFAULT 0
);
CREATE INDEX payments_by_order ON payments (order_id);

-- Joins what comes from different partitions when it is read.
CREATE VIEW order_balances AS
SELECT order_id, status, currency, total, COALESCE(captured, 0) AS captured, COALESCE(refunded, 0) AS refunded
FROM orders LEFT JOIN (
  SELECT order_id, sum(captured) AS captured, sum(refunded) AS refunded FROM payments GROUP BY order_id
) AS paid USING (order_id);
