-- The read models, in a schema of their own that a rebuild replaces as a whole. Money is in minor units. Indexes come
-- from read_models_indexes.sql, so that a rebuild can make them after the rows. Texts are compared byte by byte.

-- The one row says which event log the rows come from (NULL until a projector has begun), and tells rows that were
-- rebuilt from the ones before: what a projector knows of those is worth nothing. Whoever uses several of these tables
-- in one transaction reads it first: that keeps a rebuild from being published in between.
CREATE TABLE log (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    schema_version integer NOT NULL,
    store_id       uuid,
    generation     bigint  NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0)
);

CREATE TABLE checkpoints (
    projection   projection       NOT NULL,
    partition    text COLLATE "C" NOT NULL,
    -- In the partition, and in the event log; NULL: at the beginning.
    position     bigint,
    log_position bigint,
    updated_at   timestamptz      NOT NULL,
    PRIMARY KEY (projection, partition)
) WITH (fillfactor = 50);

CREATE TABLE parked (
    projection      projection       NOT NULL,
    stream          text COLLATE "C" NOT NULL,
    partition       text COLLATE "C" NOT NULL,
    event_id        uuid             NOT NULL,
    revision        bigint           NOT NULL,
    position        bigint           NOT NULL,
    reason          text             NOT NULL,
    parked_at       timestamptz      NOT NULL,
    retry_requested boolean          NOT NULL DEFAULT false,
    PRIMARY KEY (projection, stream)
);

-- Written over and over: room in each page spares the index.
CREATE TABLE stock (
    sku      text COLLATE "C" NOT NULL,
    on_hand  bigint           NOT NULL,
    reserved bigint           NOT NULL CHECK (reserved <= on_hand),
    revision bigint           NOT NULL
) WITH (fillfactor = 50);

-- A row exists only while units are held.
CREATE TABLE reservations (
    sku      text COLLATE "C" NOT NULL,
    order_id uuid             NOT NULL,
    quantity bigint           NOT NULL CHECK (quantity > 0)
);

-- Where the events are, in stock streams, that belong to an order. Rows are only ever added.
CREATE TABLE order_stock_events (
    order_id uuid             NOT NULL,
    -- In the log.
    position bigint           NOT NULL,
    sku      text COLLATE "C" NOT NULL,
    revision bigint           NOT NULL
);

CREATE TABLE orders (
    order_id       uuid         NOT NULL,
    revision       bigint       NOT NULL,
    recorded_at    timestamptz  NOT NULL,
    updated_at     timestamptz  NOT NULL,
    -- Search columns, taken from the order.
    status         order_status NOT NULL,
    customer_id    text COLLATE "C",
    placed_at      timestamptz  NOT NULL,
    -- NULL unless the order still waits for its payment.
    payment_due_at timestamptz,
    -- domain::order::Order. Not jsonb: it is read as a whole, and comes back as it was written.
    body           json         NOT NULL
) WITH (fillfactor = 80);

-- The orders that contain a SKU, by status, newest last.
CREATE TABLE order_skus (
    sku       text COLLATE "C" NOT NULL,
    status    order_status     NOT NULL,
    placed_at timestamptz      NOT NULL,
    order_id  uuid             NOT NULL
);

CREATE TABLE payments (
    -- In order of arrival.
    row_no                bigint GENERATED ALWAYS AS IDENTITY,
    payment_id            uuid          NOT NULL,
    revision              bigint        NOT NULL,
    recorded_at           timestamptz   NOT NULL,
    updated_at            timestamptz   NOT NULL,
    -- Search columns, taken from the payment.
    state                 payment_state NOT NULL,
    -- Its updated_at while the provider is still to be asked something; else NULL.
    awaits_provider_since timestamptz,
    -- domain::payment::Payment.
    body                  json          NOT NULL
) WITH (fillfactor = 80);

-- Each sum twice: by the hour, and by the month for queries over long times.
CREATE TABLE sales (
    dimension sales_dimension  NOT NULL,
    span      sales_span       NOT NULL,
    currency  text COLLATE "C" NOT NULL,
    -- When the span begins, in hours since 1970-01-01T00:00Z.
    start     bigint           NOT NULL,
    -- The SKU or the country; empty for all orders.
    key       text COLLATE "C" NOT NULL,
    -- Owners of different partitions never write the same row; queries sum over partitions.
    partition text COLLATE "C" NOT NULL,
    orders    bigint           NOT NULL,
    lines     bigint           NOT NULL,
    units     bigint           NOT NULL,
    gross     bigint           NOT NULL,
    cancelled bigint           NOT NULL,
    refunded  bigint           NOT NULL
) WITH (fillfactor = 80);
