//! The webhook store in the SQLite file of the operational state.

pub(super) mod columns;
mod leases;
mod secrets;

use async_trait::async_trait;
use domain::{Actor, Position, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use self::columns::{delivery, subscription};
use super::{SqliteOperations, move_position, reached};
use crate::{
    event_source::{Partition, Reached},
    operations::{
        OperationsError,
        webhooks::{
            AttemptOutcome, CatchUpStep, DeliveryId, DeliveryRetention, DeliveryStatus, EnqueueBatch,
            EnqueueOutcome, EventTypes, NewDelivery, NewSubscription, SkippedEvents, SubscribeOutcome,
            Subscription, SubscriptionChange, SubscriptionId, WebhookDelivery, WebhookStore,
            rules::{
                COUNT_SUBSCRIPTIONS, ChangedSecrets, DELIVERY_COLUMNS, EarlierRequest, NEVER_SUBSCRIBED,
                OnDuplicate, PRUNABLE_SUBSCRIPTIONS, PruneStep, REACTOR, REPLACE_CURSOR_OF_ANOTHER_LOG,
                STREAM_UNREADABLE, SUBSCRIPTION_COLUMNS, caught_up_to, expire, listed, move_back,
                newest_first, not_leased, prune_steps, requeue, secret_place, skip, sql_limit,
            },
        },
    },
    sealing::SecretKeys,
};

#[async_trait]
impl WebhookStore for SqliteOperations {
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<SubscribeOutcome, OperationsError> {
        let keys = self.secret_keys.clone();
        self.durably(move |transaction| subscribe(transaction, &new, max, &keys)).await
    }

    async fn subscriptions(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Subscription>, OperationsError> {
        let select = format!(
            "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions
             WHERE number > ?1 AND deleted_at IS NULL ORDER BY number LIMIT ?2"
        );
        let values = (after.unwrap_or(0).cast_signed(), sql_limit(limit));
        let keys = self.secret_keys.clone();
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            statement.query_map(params![values.0, values.1], |row| subscription(row, &keys))?.collect()
        })
        .await
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError> {
        let keys = self.secret_keys.clone();
        self.with(move |connection| find(connection, id, &keys)).await
    }

    async fn change(
        &self,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions SET url = ?2, event_types = ?3, description = ?4,
                 status = ?5, secret = coalesce(?6, secret),
                 previous_secret = CASE WHEN ?12 THEN ?7 ELSE previous_secret END,
                 previous_secret_until = CASE WHEN ?12 THEN ?8 ELSE previous_secret_until END,
                 rotated_by = ?9, updated_at = ?10, failing_since = ?11
             WHERE id = ?1";
        let keys = self.secret_keys.clone();
        self.durably(move |transaction| {
            let Some(before) = find(transaction, id, &keys)? else { return Ok(None) };
            let mut changed = before.clone();
            change(&mut changed);
            let secrets = ChangedSecrets::new(&before, &changed, &keys);
            transaction.execute(
                UPDATE,
                params![
                    id.0,
                    changed.url,
                    json(&changed.event_types),
                    changed.description,
                    changed.status.as_str(),
                    secrets.secret,
                    secrets.previous,
                    secrets.previous_until.map(Timestamp::as_microsecond),
                    changed.rotated_by,
                    changed.updated_at.as_microsecond(),
                    changed.failing_since.map(Timestamp::as_microsecond),
                    secrets.replaces_previous,
                ],
            )?;
            Ok(Some(changed))
        })
        .await
    }

    async fn seal_secrets(&self) -> Result<usize, OperationsError> {
        secrets::seal(self).await
    }

    async fn unsubscribe(&self, id: SubscriptionId, now: Timestamp) -> Result<bool, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions
             SET deleted_at = ?2, secret = '', previous_secret = NULL, previous_secret_until = NULL
             WHERE id = ?1 AND deleted_at IS NULL";
        self.durably(move |transaction| {
            Ok(transaction.execute(UPDATE, params![id.0, now.as_microsecond()])? > 0)
        })
        .await
    }

    async fn resume(
        &self,
        store_id: Uuid,
        partition: &Partition,
        end: Option<Position>,
    ) -> Result<Option<Reached>, OperationsError> {
        let begin = format!(
            "INSERT INTO reactor_positions (reactor, partition, store_id, position)
             SELECT ?1, ?2, ?3, ?4 WHERE {NEVER_SUBSCRIBED} {REPLACE_CURSOR_OF_ANOTHER_LOG}"
        );
        let partition = partition.clone();
        self.atomically(move |transaction| {
            if let Some(end) = end {
                transaction.execute(&begin, params![REACTOR, partition.0, store_id, end.cast_signed()])?;
            }
            stored_position(transaction, store_id, &partition)
        })
        .await
    }

    async fn start_no_later_than(&self, position: Option<Position>) -> Result<(), OperationsError> {
        let update = move_back("?1");
        let position = position.map(u64::cast_signed);
        self.durably(move |transaction| transaction.execute(&update, [position])).await.map(drop)
    }

    async fn enqueue(&self, batch: &EnqueueBatch, now: Timestamp) -> Result<EnqueueOutcome, OperationsError> {
        let batch = batch.clone();
        self.atomically(move |transaction| {
            let EnqueueBatch { store_id, partition, after, reached, .. } = &batch;
            if !move_position(transaction, REACTOR, *store_id, partition, *after, reached)? {
                return Ok(EnqueueOutcome::Overtaken);
            }
            let added = insert(transaction, &batch.deliveries, now, OnDuplicate::Keep)?;
            note_skipped(transaction, &batch.skipped)?;
            Ok(EnqueueOutcome::Written { added })
        })
        .await
    }

    async fn catch_up(&self, step: &CatchUpStep, now: Timestamp) -> Result<bool, OperationsError> {
        let advance = format!(
            "UPDATE webhook_subscriptions SET {} WHERE id = ?1 AND behind_after = ?2 AND deleted_at IS NULL",
            caught_up_to("?3")
        );
        let step = step.clone();
        self.atomically(move |transaction| {
            let (after, position) = (step.after.cast_signed(), step.position.cast_signed());
            if transaction.execute(&advance, params![step.subscription.0, after, position])? == 0 {
                return Ok(false);
            }
            insert(transaction, &step.deliveries, now, OnDuplicate::Keep)?;
            Ok(true)
        })
        .await
    }

    async fn pending(
        &self,
        subscription: SubscriptionId,
        due_by: Timestamp,
        max: usize,
    ) -> Result<usize, OperationsError> {
        const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries
             WHERE subscription_id = ?1 AND status = 'pending' AND next_attempt_at <= ?2 LIMIT ?3)";
        let values = (subscription.0, due_by.as_microsecond(), sql_limit(max));
        let count = self.with(move |connection| {
            let mut statement = connection.prepare_cached(COUNT)?;
            statement.query_row(params![values.0, values.1, values.2], |row| row.get::<_, i64>(0))
        });
        Ok(usize::try_from(count.await?).unwrap_or_default())
    }

    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError> {
        let deliveries = deliveries.to_owned();
        self.atomically(move |transaction| {
            insert(transaction, &deliveries, now, OnDuplicate::Requeue).map(drop)
        })
        .await
    }

    async fn claim(
        &self,
        claim: Uuid,
        slots: &[(SubscriptionId, usize)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<WebhookDelivery>, OperationsError> {
        let slots = slots.to_owned();
        self.atomically(move |transaction| leases::claim(transaction, claim, &slots, now, until)).await
    }

    async fn settle(&self, claim: Uuid, outcomes: &[AttemptOutcome]) -> Result<(), OperationsError> {
        let outcomes = outcomes.to_owned();
        self.atomically(move |transaction| leases::settle(transaction, claim, &outcomes)).await
    }

    async fn release(
        &self,
        claim: Uuid,
        deliveries: &[DeliveryId],
        now: Timestamp,
    ) -> Result<(), OperationsError> {
        let deliveries = deliveries.to_owned();
        self.atomically(move |transaction| leases::release(transaction, claim, &deliveries, now)).await
    }

    async fn deliveries(
        &self,
        subscription: SubscriptionId,
        status: Option<DeliveryStatus>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<WebhookDelivery>, OperationsError> {
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries
             WHERE subscription_id = ?1 AND status = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4"
        );
        let before = before.map_or(i64::MAX, u64::cast_signed);
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            let mut found = Vec::new();
            for one in listed(status) {
                let values = params![subscription.0, one.as_str(), before, sql_limit(limit)];
                for row in statement.query_map(values, delivery)? {
                    found.push(row?);
                }
            }
            Ok(newest_first(found, limit))
        })
        .await
    }

    async fn retry(
        &self,
        subscription: SubscriptionId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<WebhookDelivery>, OperationsError> {
        let update = format!(
            "UPDATE webhook_deliveries SET {} WHERE id = ?1 AND subscription_id = ?2 AND {}",
            requeue("?3"),
            not_leased("?3")
        );
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE id = ?1 AND subscription_id = ?2"
        );
        self.atomically(move |transaction| {
            transaction.execute(&update, params![id.0, subscription.0, now.as_microsecond()])?;
            transaction.query_row(&select, params![id.0, subscription.0], delivery).optional()
        })
        .await
    }

    async fn prune(&self, retention: DeliveryRetention, limit: usize) -> Result<usize, OperationsError> {
        self.atomically(move |transaction| prune(transaction, retention, sql_limit(limit))).await
    }
}

impl SqliteOperations {
    /// Runs a transaction. A power cut may undo it.
    async fn atomically<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationsError> {
        self.with(move |connection| in_transaction(connection, run)).await
    }

    /// Runs a transaction and waits until it is on the disk.
    /// Returns when the changes are on the disk.
    pub(super) async fn durably<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationsError> {
        self.with(move |connection| {
            connection.pragma_update(None, "synchronous", "FULL")?;
            let outcome = in_transaction(connection, run);
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            outcome
        })
        .await
    }
}

fn in_transaction<T>(
    connection: &Connection,
    run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let outcome = run(&transaction)?;
    transaction.commit()?;
    Ok(outcome)
}

fn subscribe(
    transaction: &Transaction<'_>,
    new: &NewSubscription,
    max: usize,
    keys: &SecretKeys,
) -> rusqlite::Result<SubscribeOutcome> {
    const EARLIER: &str =
        "SELECT key, fingerprint, deleted_at IS NOT NULL FROM webhook_subscriptions WHERE id = ?1";
    const INSERT: &str =
        "INSERT INTO webhook_subscriptions (id, key, fingerprint, url, event_types, description,
             status, secret, after, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'enabled', ?7, ?8, ?9, ?9)";
    let earlier = |row: &Row<'_>| {
        Ok(EarlierRequest { key: row.get(0)?, fingerprint: row.get(1)?, deleted: row.get(2)? })
    };
    if let Some(earlier) = transaction.query_row(EARLIER, params![new.id.0], earlier).optional()? {
        let existing = || find_existing(transaction, new.id, keys).map(SubscribeOutcome::Repeated);
        return earlier.refuses(new).map_or_else(existing, Ok);
    }
    let count: i64 = transaction.query_row(COUNT_SUBSCRIPTIONS, [], |row| row.get(0))?;
    if count >= sql_limit(max) {
        return Ok(SubscribeOutcome::TooMany);
    }
    transaction.execute(
        INSERT,
        params![
            new.id.0,
            new.key,
            new.fingerprint,
            new.url,
            json(&new.event_types),
            new.description,
            keys.seal(&new.secret, secret_place(new.id)),
            new.after.map(u64::cast_signed),
            new.now.as_microsecond(),
        ],
    )?;
    find_existing(transaction, new.id, keys).map(SubscribeOutcome::Created)
}

fn find(
    connection: &Connection,
    id: SubscriptionId,
    keys: &SecretKeys,
) -> rusqlite::Result<Option<Subscription>> {
    let select = format!(
        "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions WHERE id = ?1 AND deleted_at IS NULL"
    );
    connection.prepare_cached(&select)?.query_row(params![id.0], |row| subscription(row, keys)).optional()
}

fn find_existing(
    connection: &Connection,
    id: SubscriptionId,
    keys: &SecretKeys,
) -> rusqlite::Result<Subscription> {
    find(connection, id, keys)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn stored_position(
    connection: &Connection,
    store_id: Uuid,
    partition: &Partition,
) -> rusqlite::Result<Option<Reached>> {
    const SELECT: &str = "SELECT position, last_event FROM reactor_positions
         WHERE reactor = ?1 AND store_id = ?2 AND partition = ?3";
    let values = params![REACTOR, store_id, partition.0];
    connection.query_row(SELECT, values, |row| reached(row, 0)).optional()
}

/// Returns the number of rows written.
fn insert(
    transaction: &Transaction<'_>,
    deliveries: &[NewDelivery],
    now: Timestamp,
    duplicates: OnDuplicate,
) -> rusqlite::Result<usize> {
    let insert = format!(
        "INSERT INTO webhook_deliveries (id, subscription_id, event_id, event_type, stream, revision, position,
             recorded_at, order_id, sequence, previous_sequence, status, queued_at, next_attempt_at,
             last_error, actor)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'pending', ?12, ?12, ?13, ?14
         WHERE EXISTS (SELECT 1 FROM webhook_subscriptions WHERE id = ?2 AND deleted_at IS NULL)
         {}",
        duplicates.clause()
    );
    let mut statement = transaction.prepare_cached(&insert)?;
    let mut written = 0;
    for one in deliveries {
        written += statement.execute(params![
            one.id().0,
            one.subscription.0,
            one.event.0,
            one.event_type,
            one.stream.to_string(),
            one.revision.cast_signed(),
            one.position.cast_signed(),
            one.recorded_at.as_microsecond(),
            one.place.map_or(Uuid::nil(), |place| place.order.0),
            one.place.map_or(0, |place| place.sequence.number.cast_signed()),
            one.place.and_then(|place| place.sequence.previous).map(u64::cast_signed),
            now.as_microsecond(),
            one.place.is_none().then_some(STREAM_UNREADABLE),
            one.actor.as_ref().map(Actor::to_json),
        ])?;
    }
    Ok(written)
}

fn note_skipped(transaction: &Transaction<'_>, skipped: &[SkippedEvents]) -> rusqlite::Result<()> {
    let update = format!(
        "UPDATE webhook_subscriptions SET {} WHERE id = ?1 AND deleted_at IS NULL",
        skip("?2", "?3", "?4")
    );
    let mut statement = transaction.prepare_cached(&update)?;
    for SkippedEvents { subscription, after, first, last } in skipped {
        let values = params![subscription.0, after.cast_signed(), first.cast_signed(), last.cast_signed()];
        statement.execute(values)?;
    }
    Ok(())
}

fn prune(transaction: &Transaction<'_>, retention: DeliveryRetention, limit: i64) -> rusqlite::Result<usize> {
    // Looks only at the `limit` oldest rows. If they were sent again recently, newer rows stay longer than
    // needed.
    const DELETE_FINISHED: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM (SELECT number, finished_at FROM webhook_deliveries
                 WHERE subscription_id = ?1 AND status = ?2 ORDER BY number LIMIT ?4)
             WHERE finished_at < ?3)";
    const DELETE_ALL: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM webhook_deliveries WHERE subscription_id = ?1 LIMIT ?2)";
    let expire_pending = format!(
        "UPDATE webhook_deliveries SET {}
         WHERE number IN (SELECT number FROM (SELECT number, queued_at FROM webhook_deliveries
                 WHERE subscription_id = ?1 AND status = 'pending' ORDER BY next_attempt_at, number LIMIT ?4)
             WHERE queued_at < ?2)
         AND {}",
        expire("?3"),
        not_leased("?3")
    );
    let mut statement = transaction.prepare_cached(PRUNABLE_SUBSCRIPTIONS)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Uuid>(0)?, row.get::<_, bool>(1)?));
    let subscriptions: Vec<_> = statement.query_map([], row)?.collect::<rusqlite::Result<_>>()?;
    let mut pruned = 0;
    for (id, deleted) in subscriptions {
        for step in prune_steps(deleted, retention) {
            pruned += match step {
                PruneStep::DeleteAll => transaction.execute(DELETE_ALL, params![id, limit])?,
                PruneStep::DeleteFinished { status, before } => {
                    let values = params![id, status.as_str(), before.as_microsecond(), limit];
                    transaction.execute(DELETE_FINISHED, values)?
                }
                PruneStep::Expire { queued_before, now } => {
                    let (queued_before, now) = (queued_before.as_microsecond(), now.as_microsecond());
                    transaction.execute(&expire_pending, params![id, queued_before, now, limit])?
                }
            };
        }
    }
    Ok(pruned)
}

fn json(event_types: &EventTypes) -> String {
    serde_json::to_string(event_types.patterns()).expect("strings always serialise")
}
