-- What each subscription remembers of a receiver that fails, and of events that wait in the log.

ALTER TYPE webhook_subscription_status ADD VALUE 'failing';

ALTER TABLE webhook_subscriptions
    -- The first of the failures in a row that stopped the receiver's lane.
    ADD COLUMN failing_since timestamptz,
    -- Every event up to this position of the log is queued; later ones up to skipped_to are read from the log.
    ADD COLUMN behind_after  bigint,
    ADD COLUMN skipped_to    bigint;
