-- The API keys of callers, and who caused the event of a delivery.

CREATE TABLE api_keys (
    id           text        COLLATE "C" PRIMARY KEY,
    principal    text        NOT NULL,
    -- A JSON array.
    scopes       text        NOT NULL,
    -- SHA-256. The secret itself is stored nowhere.
    secret_hash  bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- Written at most once a minute.
    last_used_at timestamptz
);

-- The JSON of an Actor. NULL if an earlier build queued the delivery.
ALTER TABLE webhook_deliveries ADD COLUMN actor text;
