//! Subscriptions and deliveries in the file of the operational state.

mod columns;

use async_trait::async_trait;
use domain::{Position, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use self::columns::{DELIVERY_COLUMNS, SUBSCRIPTION_COLUMNS, delivery, subscription};
use super::SqliteOperations;
use crate::{
    event_source::Partition,
    operations::{
        OperationsError,
        webhooks::{
            Change, Delivery, DeliveryStatus, Enqueue, Enqueued, NewDelivery, NewSubscription, Next,
            Retention, Settlement, Subscribed, Subscription, Webhooks,
        },
    },
    webhooks::{DeliveryId, EventTypes, SubscriptionId, follower::REACTOR},
};

#[async_trait]
impl Webhooks for SqliteOperations {
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<Subscribed, OperationsError> {
        self.durably(move |transaction| subscribe(transaction, &new, max)).await
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
        let values = (after.unwrap_or(0).cast_signed(), as_limit(limit));
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            statement.query_map(params![values.0, values.1], subscription)?.collect()
        })
        .await
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError> {
        self.with(move |connection| find(connection, id)).await
    }

    async fn change(
        &self,
        id: SubscriptionId,
        change: Change,
    ) -> Result<Option<Subscription>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions SET url = ?2, event_types = ?3, description = ?4,
                 status = ?5, secret = ?6, previous_secret = ?7, previous_secret_until = ?8, rotated_by = ?9,
                 updated_at = ?10
             WHERE id = ?1";
        self.durably(move |transaction| {
            let Some(mut changed) = find(transaction, id)? else { return Ok(None) };
            change(&mut changed);
            let previous = changed.previous_secret.as_ref();
            transaction.execute(
                UPDATE,
                params![
                    id.0,
                    changed.url,
                    json(&changed.event_types),
                    changed.description,
                    changed.status.as_str(),
                    changed.secret.reveal(),
                    previous.map(|(secret, _)| secret.reveal()),
                    previous.map(|(_, until)| until.as_microsecond()),
                    changed.rotated_by,
                    changed.updated_at.as_microsecond(),
                ],
            )?;
            Ok(Some(changed))
        })
        .await
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
    ) -> Result<Option<Position>, OperationsError> {
        let partition = partition.clone();
        self.atomically(move |transaction| {
            let position = position(transaction, store_id, &partition)?;
            let anybody = "SELECT EXISTS (SELECT 1 FROM webhook_subscriptions)";
            match (position, end) {
                (None, Some(end)) if !transaction.query_row(anybody, [], |row| row.get(0))? => {
                    set_position(transaction, store_id, &partition, end)?;
                    Ok(Some(end))
                }
                (position, _) => Ok(position),
            }
        })
        .await
    }

    async fn enqueue(&self, batch: &Enqueue, now: Timestamp) -> Result<Enqueued, OperationsError> {
        let batch = batch.clone();
        self.atomically(move |transaction| {
            if position(transaction, batch.store_id, &batch.partition)? != batch.after {
                return Ok(Enqueued::Overtaken);
            }
            set_position(transaction, batch.store_id, &batch.partition, batch.position)?;
            let added = insert(transaction, &batch.deliveries, now, "DO NOTHING")?;
            Ok(Enqueued::Written { added })
        })
        .await
    }

    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError> {
        let deliveries = deliveries.to_owned();
        self.atomically(move |transaction| {
            let again = "DO UPDATE SET status = 'pending', attempts = 0, queued_at = excluded.queued_at,
                     next_attempt_at = excluded.next_attempt_at, claim = NULL, first_attempt_at = NULL,
                     finished_at = NULL, previous_sequence = excluded.previous_sequence
                 WHERE status <> 'pending' OR claim IS NULL OR next_attempt_at <= excluded.next_attempt_at";
            insert(transaction, &deliveries, now, again).map(drop)
        })
        .await
    }

    async fn claim(
        &self,
        claim: Uuid,
        slots: &[(SubscriptionId, usize)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Delivery>, OperationsError> {
        let update = format!(
            "UPDATE webhook_deliveries SET claim = ?1, next_attempt_at = ?2
             WHERE number IN (SELECT number FROM webhook_deliveries
                 WHERE subscription_id = ?3 AND status = 'pending' AND next_attempt_at <= ?4
                 ORDER BY next_attempt_at, number LIMIT ?5)
             RETURNING {DELIVERY_COLUMNS}"
        );
        let slots = slots.to_owned();
        self.atomically(move |transaction| {
            let mut statement = transaction.prepare_cached(&update)?;
            let mut claimed = Vec::new();
            for (subscription, free) in slots {
                let values = params![
                    claim,
                    until.as_microsecond(),
                    subscription.0,
                    now.as_microsecond(),
                    as_limit(free)
                ];
                for row in statement.query_map(values, delivery)? {
                    claimed.push(row?);
                }
            }
            claimed.sort_by_key(|delivery| delivery.number);
            Ok(claimed)
        })
        .await
    }

    async fn settle(&self, claim: Uuid, settlement: &Settlement) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE webhook_deliveries
             SET attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?3), last_attempt_at = ?3,
                 last_status = ?4, last_error = ?5, status = ?6, next_attempt_at = ?7, finished_at = ?8, claim = NULL
             WHERE id = ?1 AND claim = ?2";
        let settlement = settlement.clone();
        self.with(move |connection| {
            let (status, next_attempt_at) = match settlement.next {
                Next::Delivered => (DeliveryStatus::Delivered, None),
                Next::AttemptAt(time) => (DeliveryStatus::Pending, Some(time.as_microsecond())),
                Next::Failed => (DeliveryStatus::Failed, None),
            };
            let finished_at = next_attempt_at.is_none().then(|| settlement.now.as_microsecond());
            connection.prepare_cached(UPDATE)?.execute(params![
                settlement.delivery.0,
                claim,
                settlement.attempted_at.as_microsecond(),
                settlement.status,
                settlement.error,
                status.as_str(),
                next_attempt_at,
                finished_at,
            ])
        })
        .await
        .map(drop)
    }

    async fn deliveries(
        &self,
        subscription: SubscriptionId,
        status: Option<DeliveryStatus>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, OperationsError> {
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries
             WHERE subscription_id = ?1 AND status = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4"
        );
        let before = before.map_or(i64::MAX, u64::cast_signed);
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            let mut found = Vec::new();
            for one in DeliveryStatus::ALL.into_iter().filter(|one| status.is_none_or(|asked| asked == *one))
            {
                let values = params![subscription.0, one.as_str(), before, as_limit(limit)];
                for row in statement.query_map(values, delivery)? {
                    found.push(row?);
                }
            }
            found.sort_by_key(|delivery| std::cmp::Reverse(delivery.number));
            found.truncate(limit);
            Ok(found)
        })
        .await
    }

    async fn retry(
        &self,
        subscription: SubscriptionId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_deliveries
             SET status = 'pending', attempts = 0, queued_at = ?3, next_attempt_at = ?3, claim = NULL,
                 first_attempt_at = NULL, finished_at = NULL
             WHERE id = ?1 AND subscription_id = ?2
               AND (status <> 'pending' OR claim IS NULL OR next_attempt_at <= ?3)";
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE id = ?1 AND subscription_id = ?2"
        );
        self.atomically(move |transaction| {
            transaction.execute(UPDATE, params![id.0, subscription.0, now.as_microsecond()])?;
            transaction.query_row(&select, params![id.0, subscription.0], delivery).optional()
        })
        .await
    }

    async fn prune(&self, retention: Retention, limit: usize) -> Result<usize, OperationsError> {
        self.atomically(move |transaction| prune(transaction, retention, as_limit(limit))).await
    }
}

impl SqliteOperations {
    /// Runs a transaction that is in the file when this returns, whole or not at all.
    async fn atomically<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationsError> {
        self.with(move |connection| in_transaction(connection, run)).await
    }

    /// As [`SqliteOperations::atomically`], and on the disk.
    async fn durably<T: Send + 'static>(
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
) -> rusqlite::Result<Subscribed> {
    const EARLIER: &str =
        "SELECT key, fingerprint, deleted_at IS NOT NULL FROM webhook_subscriptions WHERE id = ?1";
    const COUNT: &str = "SELECT count(*) FROM webhook_subscriptions WHERE deleted_at IS NULL";
    const INSERT: &str =
        "INSERT INTO webhook_subscriptions (id, key, fingerprint, url, event_types, description,
             status, secret, after, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'enabled', ?7, ?8, ?9, ?9)";
    let earlier =
        |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?));
    let earlier = transaction.query_row(EARLIER, params![new.id.0], earlier).optional()?;
    if let Some((key, fingerprint, deleted)) = earlier {
        if (&key, &fingerprint) != (&new.key, &new.fingerprint) {
            return Ok(Subscribed::KeyReused);
        }
        let found = if deleted { None } else { find(transaction, new.id)? };
        return Ok(found.map_or(Subscribed::Deleted, Subscribed::Repeated));
    }
    let count: i64 = transaction.query_row(COUNT, [], |row| row.get(0))?;
    if count >= as_limit(max) {
        return Ok(Subscribed::TooMany);
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
            new.secret.reveal(),
            new.after.map(u64::cast_signed),
            new.now.as_microsecond(),
        ],
    )?;
    find(transaction, new.id)?.map(Subscribed::Created).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn find(connection: &Connection, id: SubscriptionId) -> rusqlite::Result<Option<Subscription>> {
    let select = format!(
        "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions WHERE id = ?1 AND deleted_at IS NULL"
    );
    connection.prepare_cached(&select)?.query_row(params![id.0], subscription).optional()
}

fn position(
    connection: &Connection,
    store_id: Uuid,
    partition: &Partition,
) -> rusqlite::Result<Option<Position>> {
    const SELECT: &str =
        "SELECT position FROM reactor_positions WHERE reactor = ?1 AND store_id = ?2 AND partition = ?3";
    let values = params![REACTOR, store_id, partition.0];
    let position = connection.query_row(SELECT, values, |row| row.get::<_, i64>(0)).optional()?;
    Ok(position.map(i64::cast_unsigned))
}

fn set_position(
    connection: &Connection,
    store_id: Uuid,
    partition: &Partition,
    position: Position,
) -> rusqlite::Result<()> {
    const UPSERT: &str = "INSERT INTO reactor_positions (reactor, store_id, partition, position)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (reactor, partition) DO UPDATE SET store_id = ?2, position = ?4";
    let values = params![REACTOR, store_id, partition.0, position.cast_signed()];
    connection.execute(UPSERT, values).map(drop)
}

/// Says how many rows it has written.
fn insert(
    transaction: &Transaction<'_>,
    deliveries: &[NewDelivery],
    now: Timestamp,
    on_conflict: &str,
) -> rusqlite::Result<usize> {
    let insert = format!(
        "INSERT INTO webhook_deliveries (id, subscription_id, event_id, event_type, stream, revision, position,
             recorded_at, order_id, sequence, previous_sequence, status, queued_at, next_attempt_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'pending', ?12, ?12
         WHERE EXISTS (SELECT 1 FROM webhook_subscriptions WHERE id = ?2 AND deleted_at IS NULL)
         ON CONFLICT (id) {on_conflict}"
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
            one.order.0,
            one.place.sequence.cast_signed(),
            one.place.previous.map(u64::cast_signed),
            now.as_microsecond(),
        ])?;
    }
    Ok(written)
}

fn prune(transaction: &Transaction<'_>, retention: Retention, limit: i64) -> rusqlite::Result<usize> {
    const SUBSCRIPTIONS: &str = "SELECT id, deleted_at IS NOT NULL, status <> 'enabled'
         FROM webhook_subscriptions AS subscription
         WHERE deleted_at IS NULL
            OR EXISTS (SELECT 1 FROM webhook_deliveries AS delivery WHERE delivery.subscription_id = subscription.id)";
    // The oldest are looked at, not all: one that was sent again lately holds up those behind it for a while.
    const DELETE: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM (SELECT number, finished_at FROM webhook_deliveries
                 WHERE subscription_id = ?1 AND status = ?2 ORDER BY number LIMIT ?4)
             WHERE finished_at < ?3)";
    const DELETE_ALL: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM webhook_deliveries WHERE subscription_id = ?1 LIMIT ?2)";
    const FAIL: &str = "UPDATE webhook_deliveries
         SET status = 'failed', finished_at = ?3, next_attempt_at = NULL, claim = NULL,
             last_error = 'the subscription was not enabled in time'
         WHERE number IN (SELECT number FROM (SELECT number, queued_at FROM webhook_deliveries
                 WHERE subscription_id = ?1 AND status = 'pending' ORDER BY next_attempt_at, number LIMIT ?4)
             WHERE queued_at < ?2)";
    let mut statement = transaction.prepare_cached(SUBSCRIPTIONS)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Uuid>(0)?, row.get::<_, bool>(1)?, row.get::<_, bool>(2)?));
    let subscriptions: Vec<_> = statement.query_map([], row)?.collect::<rusqlite::Result<_>>()?;
    let mut pruned = 0;
    for (id, deleted, disabled) in subscriptions {
        if deleted {
            pruned += transaction.execute(DELETE_ALL, params![id, limit])?;
            continue;
        }
        for (status, before) in [
            (DeliveryStatus::Delivered, retention.delivered_before),
            (DeliveryStatus::Failed, retention.failed_before),
        ] {
            let values = params![id, status.as_str(), before.as_microsecond(), limit];
            pruned += transaction.execute(DELETE, values)?;
        }
        if disabled {
            let times = (retention.waiting_before.as_microsecond(), retention.now.as_microsecond());
            pruned += transaction.execute(FAIL, params![id, times.0, times.1, limit])?;
        }
    }
    Ok(pruned)
}

fn json(event_types: &EventTypes) -> String {
    serde_json::to_string(event_types.patterns()).expect("strings always serialise")
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
