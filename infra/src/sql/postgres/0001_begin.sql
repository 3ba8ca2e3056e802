-- What outlives every rebuild: the types of the read models, and operational state. Numbered and never edited; see
-- migrations.rs.

CREATE TYPE projection AS ENUM ('stock', 'orders', 'payments', 'sales');
-- Orders with a row have been placed.
CREATE TYPE order_status AS ENUM ('placed', 'allocated', 'rejected', 'cancelled', 'expired');
CREATE TYPE payment_state AS ENUM ('requested', 'authorized', 'captured', 'failed', 'voided', 'outcome_unknown');
CREATE TYPE sales_dimension AS ENUM ('all', 'sku', 'country');
CREATE TYPE sales_span AS ENUM ('hour', 'month');

-- How far a reactor, such as the process manager, has read each partition of a log.
CREATE TABLE reactor_positions (
    reactor   text   NOT NULL,
    partition text   NOT NULL,
    store_id  uuid   NOT NULL,
    position  bigint NOT NULL,
    PRIMARY KEY (reactor, partition)
);
