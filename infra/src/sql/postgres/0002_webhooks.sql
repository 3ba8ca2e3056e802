-- Subscriptions to webhooks and their deliveries. Operational state: a rebuild does not touch it.

CREATE TYPE webhook_subscription_status AS ENUM ('enabled', 'disabled', 'gone');
CREATE TYPE webhook_delivery_status AS ENUM ('pending', 'delivered', 'failed');

CREATE TABLE webhook_subscriptions (
    number                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                    uuid                        NOT NULL UNIQUE,
    -- The request that made it. Kept after deletion, so that a late retry of the request does not make it
    -- again.
    key                   text                        NOT NULL,
    fingerprint           text                        NOT NULL,
    url                   text                        NOT NULL,
    event_types           text[]                      NOT NULL,
    description           text,
    status                webhook_subscription_status NOT NULL,
    secret                text                        NOT NULL,
    previous_secret       text,
    previous_secret_until timestamptz,
    rotated_by            uuid,
    -- Only events after this position of the log are delivered.
    after                 bigint,
    created_at            timestamptz                 NOT NULL,
    updated_at            timestamptz                 NOT NULL,
    deleted_at            timestamptz
);

-- Each row is updated a few times. Free space in each page lets some updates leave the indexes unchanged.
CREATE TABLE webhook_deliveries (
    number            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Derived from subscription and event.
    id                uuid                    NOT NULL UNIQUE,
    subscription_id   uuid                    NOT NULL,
    event_id          uuid                    NOT NULL,
    event_type        text                    NOT NULL,
    stream            text                    NOT NULL,
    revision          bigint                  NOT NULL,
    position          bigint                  NOT NULL,
    recorded_at       timestamptz             NOT NULL,
    order_id          uuid                    NOT NULL,
    sequence          bigint                  NOT NULL,
    previous_sequence bigint,
    status            webhook_delivery_status NOT NULL,
    attempts          integer                 NOT NULL DEFAULT 0,
    queued_at         timestamptz             NOT NULL,
    -- Under a lease: when the lease ends.
    next_attempt_at   timestamptz,
    claim             uuid,
    first_attempt_at  timestamptz,
    last_attempt_at   timestamptz,
    finished_at       timestamptz,
    last_status       integer,
    last_error        text
) WITH (fillfactor = 80);

CREATE INDEX webhook_deliveries_due
    ON webhook_deliveries (subscription_id, next_attempt_at, number) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_status ON webhook_deliveries (subscription_id, status, number);
