//! Subscriptions and deliveries beside the read models.

mod columns;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{Position, Timestamp};
use postgres_types::ToSql;
use uuid::Uuid;

use self::columns::{DELIVERY_COLUMNS, SUBSCRIPTION_COLUMNS, State, Status, cell, delivery, subscription};
use super::PostgresOperations;
use crate::{
    event_source::Partition,
    operations::{
        OperationsError,
        webhooks::{
            Change, Delivery, DeliveryStatus, Enqueue, Enqueued, NewDelivery, NewSubscription, Next,
            Retention, Settlement, Subscribed, Subscription, Webhooks,
        },
    },
    postgres::Fault,
    read_models::postgres::columns::Instant,
    webhooks::{DeliveryId, SubscriptionId, follower::REACTOR},
};

/// What is answered to a caller is on the server's disk; the connections' sessions do not wait for that otherwise.
const DURABLY: &str = "SET LOCAL synchronous_commit = on";

#[async_trait]
impl Webhooks for PostgresOperations {
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<Subscribed, OperationsError> {
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let subscribed = subscribe(&transaction, &new, max).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(subscribed)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn subscriptions(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Subscription>, OperationsError> {
        let select = format!(
            "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions
             WHERE number > $1 AND deleted_at IS NULL ORDER BY number LIMIT $2"
        );
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&select).await?;
            let after = after.unwrap_or(0).cast_signed();
            let rows = client.query(&statement, &[&after, &as_limit(limit)]).await?;
            rows.iter().map(subscription).collect::<Result<Vec<_>, Fault>>()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError> {
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&find("")).await?;
            let row = client.query_opt(&statement, &[&id.0]).await?;
            row.as_ref().map(subscription).transpose()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn change(
        &self,
        id: SubscriptionId,
        change: Change,
    ) -> Result<Option<Subscription>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions SET url = $2, event_types = $3, description = $4,
                 status = $5, secret = $6, previous_secret = $7, previous_secret_until = $8, rotated_by = $9,
                 updated_at = $10
             WHERE id = $1";
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let Some(row) = transaction.query_opt(&find("FOR UPDATE"), &[&id.0]).await? else {
                return Ok::<_, Fault>(None);
            };
            let mut changed = subscription(&row)?;
            change(&mut changed);
            let previous = changed.previous_secret.as_ref();
            transaction
                .execute(
                    UPDATE,
                    &[
                        &id.0,
                        &changed.url,
                        &changed.event_types.patterns(),
                        &changed.description,
                        &State::from(changed.status),
                        &changed.secret.reveal(),
                        &previous.map(|(secret, _)| secret.reveal()),
                        &previous.map(|(_, until)| Instant::from(*until)),
                        &changed.rotated_by,
                        &Instant::from(changed.updated_at),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Some(changed))
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn unsubscribe(&self, id: SubscriptionId, now: Timestamp) -> Result<bool, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions
             SET deleted_at = $2, secret = '', previous_secret = NULL, previous_secret_until = NULL
             WHERE id = $1 AND deleted_at IS NULL";
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let ended = transaction.execute(UPDATE, &[&id.0, &Instant::from(now)]).await? > 0;
            transaction.commit().await?;
            Ok::<_, Fault>(ended)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn resume(
        &self,
        store_id: Uuid,
        partition: &Partition,
        end: Option<Position>,
    ) -> Result<Option<Position>, OperationsError> {
        const SELECT: &str = "SELECT position FROM reactor_positions
             WHERE reactor = $1 AND partition = $2 AND store_id = $3";
        // Nobody has subscribed before the end was read, if nobody has by now.
        const BEGIN: &str = "INSERT INTO reactor_positions (reactor, partition, store_id, position)
             SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM webhook_subscriptions)
             ON CONFLICT (reactor, partition) DO UPDATE
             SET store_id = excluded.store_id, position = excluded.position
             WHERE reactor_positions.store_id <> excluded.store_id";
        let work = async |client: &mut Object| {
            if let Some(end) = end {
                let values: [&(dyn ToSql + Sync); 4] =
                    [&REACTOR, &partition.0, &store_id, &end.cast_signed()];
                client.execute(BEGIN, &values).await?;
            }
            let row = client.query_opt(SELECT, &[&REACTOR, &partition.0, &store_id]).await?;
            row.map(|row| row.try_get::<_, i64>(0)).transpose().map_err(Fault::from)
        };
        Ok(self.database().await?.run(work).await?.map(i64::cast_unsigned))
    }

    async fn enqueue(&self, batch: &Enqueue, now: Timestamp) -> Result<Enqueued, OperationsError> {
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            if !move_position(&transaction, batch).await? {
                return Ok::<_, Fault>(Enqueued::Overtaken);
            }
            let added = insert(&transaction, &batch.deliveries, now, "DO NOTHING").await?;
            transaction.commit().await?;
            Ok(Enqueued::Written { added })
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError> {
        let again = "DO UPDATE SET status = 'pending', attempts = 0, queued_at = excluded.queued_at,
                 next_attempt_at = excluded.next_attempt_at, claim = NULL, first_attempt_at = NULL,
                 finished_at = NULL, previous_sequence = excluded.previous_sequence
             WHERE webhook_deliveries.status <> 'pending' OR webhook_deliveries.claim IS NULL
                OR webhook_deliveries.next_attempt_at <= excluded.next_attempt_at";
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            insert(&transaction, deliveries, now, again).await?;
            Ok::<_, Fault>(transaction.commit().await?)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn claim(
        &self,
        claim: Uuid,
        slots: &[(SubscriptionId, usize)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Delivery>, OperationsError> {
        let update = format!(
            "WITH due AS (
                 SELECT picked.number FROM unnest($1::uuid[], $2::bigint[]) AS slot (subscription_id, free)
                 CROSS JOIN LATERAL (
                     SELECT number FROM webhook_deliveries
                     WHERE subscription_id = slot.subscription_id AND status = 'pending' AND next_attempt_at <= $3
                     ORDER BY next_attempt_at, number LIMIT slot.free FOR UPDATE SKIP LOCKED
                 ) AS picked
             )
             UPDATE webhook_deliveries SET claim = $4, next_attempt_at = $5
             WHERE number IN (SELECT number FROM due)
             RETURNING {DELIVERY_COLUMNS}"
        );
        let (subscriptions, free): (Vec<Uuid>, Vec<i64>) =
            slots.iter().map(|(subscription, free)| (subscription.0, as_limit(*free))).unzip();
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&update).await?;
            let values: [&(dyn ToSql + Sync); 5] =
                [&subscriptions, &free, &Instant::from(now), &claim, &Instant::from(until)];
            let rows = client.query(&statement, &values).await?;
            rows.iter().map(delivery).collect::<Result<Vec<_>, Fault>>()
        };
        let mut claimed = self.database().await?.run(work).await?;
        claimed.sort_by_key(|delivery| delivery.number);
        Ok(claimed)
    }

    async fn settle(&self, claim: Uuid, settlement: &Settlement) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE webhook_deliveries
             SET attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, $3), last_attempt_at = $3,
                 last_status = $4, last_error = $5, status = $6, next_attempt_at = $7, finished_at = $8, claim = NULL
             WHERE id = $1 AND claim = $2";
        let (status, next_attempt_at) = match settlement.next {
            Next::Delivered => (Status::Delivered, None),
            Next::AttemptAt(time) => (Status::Pending, Some(Instant::from(time))),
            Next::Failed => (Status::Failed, None),
        };
        let finished_at = next_attempt_at.is_none().then(|| Instant::from(settlement.now));
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(UPDATE).await?;
            let values: [&(dyn ToSql + Sync); 8] = [
                &settlement.delivery.0,
                &claim,
                &Instant::from(settlement.attempted_at),
                &settlement.status.map(i32::from),
                &settlement.error,
                &status,
                &next_attempt_at,
                &finished_at,
            ];
            client.execute(&statement, &values).await?;
            Ok::<_, Fault>(())
        };
        Ok(self.database().await?.run(work).await?)
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
             WHERE subscription_id = $1 AND status = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
        );
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&select).await?;
            let mut found = Vec::new();
            for one in DeliveryStatus::ALL.into_iter().filter(|one| status.is_none_or(|asked| asked == *one))
            {
                let values: [&(dyn ToSql + Sync); 4] =
                    [&subscription.0, &Status::from(one), &before, &as_limit(limit)];
                for row in client.query(&statement, &values).await? {
                    found.push(delivery(&row)?);
                }
            }
            Ok::<_, Fault>(found)
        };
        let mut found = self.database().await?.run(work).await?;
        found.sort_by_key(|delivery| std::cmp::Reverse(delivery.number));
        found.truncate(limit);
        Ok(found)
    }

    async fn retry(
        &self,
        subscription: SubscriptionId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_deliveries
             SET status = 'pending', attempts = 0, queued_at = $3, next_attempt_at = $3, claim = NULL,
                 first_attempt_at = NULL, finished_at = NULL
             WHERE id = $1 AND subscription_id = $2
               AND (status <> 'pending' OR claim IS NULL OR next_attempt_at <= $3)";
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE id = $1 AND subscription_id = $2"
        );
        let work = async |client: &mut Object| {
            client.execute(UPDATE, &[&id.0, &subscription.0, &Instant::from(now)]).await?;
            let row = client.query_opt(&select, &[&id.0, &subscription.0]).await?;
            row.as_ref().map(delivery).transpose()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn prune(&self, retention: Retention, limit: usize) -> Result<usize, OperationsError> {
        let work = async |client: &mut Object| prune(client, retention, as_limit(limit)).await;
        let pruned = self.database().await?.run(work).await?;
        Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
    }
}

async fn subscribe(
    transaction: &Transaction<'_>,
    new: &NewSubscription,
    max: usize,
) -> Result<Subscribed, Fault> {
    // Twins of a request wait here for one another, and so does whoever would be one too many.
    const LOCK: &str = "LOCK TABLE webhook_subscriptions IN SHARE ROW EXCLUSIVE MODE";
    const EARLIER: &str =
        "SELECT key, fingerprint, deleted_at IS NOT NULL FROM webhook_subscriptions WHERE id = $1";
    const COUNT: &str = "SELECT count(*) FROM webhook_subscriptions WHERE deleted_at IS NULL";
    const INSERT: &str =
        "INSERT INTO webhook_subscriptions (id, key, fingerprint, url, event_types, description,
             status, secret, after, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'enabled', $7, $8, $9, $9)";
    transaction.batch_execute(LOCK).await?;
    if let Some(row) = transaction.query_opt(EARLIER, &[&new.id.0]).await? {
        let earlier: (String, String) = (cell(&row, 0)?, cell(&row, 1)?);
        if earlier != (new.key.clone(), new.fingerprint.clone()) {
            return Ok(Subscribed::KeyReused);
        }
        if cell(&row, 2)? {
            return Ok(Subscribed::Deleted);
        }
        let row = transaction.query_one(&find(""), &[&new.id.0]).await?;
        return Ok(Subscribed::Repeated(subscription(&row)?));
    }
    let count: i64 = cell(&transaction.query_one(COUNT, &[]).await?, 0)?;
    if count >= as_limit(max) {
        return Ok(Subscribed::TooMany);
    }
    let values: [&(dyn ToSql + Sync); 9] = [
        &new.id.0,
        &new.key,
        &new.fingerprint,
        &new.url,
        &new.event_types.patterns(),
        &new.description,
        &new.secret.reveal(),
        &new.after.map(u64::cast_signed),
        &Instant::from(new.now),
    ];
    transaction.execute(INSERT, &values).await?;
    let row = transaction.query_one(&find(""), &[&new.id.0]).await?;
    Ok(Subscribed::Created(subscription(&row)?))
}

fn find(lock: &str) -> String {
    format!(
        "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions WHERE id = $1 AND deleted_at IS NULL {lock}"
    )
}

/// False where it is not as the batch expects.
async fn move_position(transaction: &Transaction<'_>, batch: &Enqueue) -> Result<bool, Fault> {
    const MOVE: &str = "UPDATE reactor_positions SET position = $4
         WHERE reactor = $1 AND partition = $2 AND store_id = $3 AND position = $5";
    const BEGIN: &str = "INSERT INTO reactor_positions (reactor, partition, store_id, position)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (reactor, partition) DO UPDATE
         SET store_id = excluded.store_id, position = excluded.position
         WHERE reactor_positions.store_id <> excluded.store_id";
    let Enqueue { store_id, partition: Partition(partition), position, after, .. } = batch;
    let position = position.cast_signed();
    let moved = match after {
        Some(after) => {
            let values: [&(dyn ToSql + Sync); 5] =
                [&REACTOR, partition, store_id, &position, &after.cast_signed()];
            transaction.execute(MOVE, &values).await?
        }
        None => transaction.execute(BEGIN, &[&REACTOR, partition, store_id, &position]).await?,
    };
    Ok(moved == 1)
}

/// Says how many rows it has written.
async fn insert(
    transaction: &Transaction<'_>,
    deliveries: &[NewDelivery],
    now: Timestamp,
    on_conflict: &str,
) -> Result<usize, Fault> {
    if deliveries.is_empty() {
        return Ok(0);
    }
    let insert = format!(
        "INSERT INTO webhook_deliveries (id, subscription_id, event_id, event_type, stream, revision, position,
             recorded_at, order_id, sequence, previous_sequence, status, queued_at, next_attempt_at)
         SELECT one.id, one.subscription_id, one.event_id, one.event_type, one.stream, one.revision, one.position,
             one.recorded_at, one.order_id, one.sequence, one.previous_sequence, 'pending', $12, $12
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                 $8::timestamptz[], $9::uuid[], $10::bigint[], $11::bigint[])
             AS one (id, subscription_id, event_id, event_type, stream, revision, position, recorded_at, order_id,
                 sequence, previous_sequence)
         WHERE EXISTS (SELECT 1 FROM webhook_subscriptions AS subscription
             WHERE subscription.id = one.subscription_id AND subscription.deleted_at IS NULL)
         ON CONFLICT (id) {on_conflict}"
    );
    let statement = transaction.prepare_cached(&insert).await?;
    let values: [&(dyn ToSql + Sync); 12] = [
        &column(deliveries, |one| one.id().0),
        &column(deliveries, |one| one.subscription.0),
        &column(deliveries, |one| one.event.0),
        &column(deliveries, |one| one.event_type.clone()),
        &column(deliveries, |one| one.stream.to_string()),
        &column(deliveries, |one| one.revision.cast_signed()),
        &column(deliveries, |one| one.position.cast_signed()),
        &column(deliveries, |one| Instant::from(one.recorded_at)),
        &column(deliveries, |one| one.order.0),
        &column(deliveries, |one| one.place.sequence.cast_signed()),
        &column(deliveries, |one| one.place.previous.map(u64::cast_signed)),
        &Instant::from(now),
    ];
    let written = transaction.execute(&statement, &values).await?;
    Ok(usize::try_from(written).unwrap_or(usize::MAX))
}

fn column<T>(deliveries: &[NewDelivery], value: impl Fn(&NewDelivery) -> T) -> Vec<T> {
    deliveries.iter().map(value).collect()
}

async fn prune(client: &mut Object, retention: Retention, limit: i64) -> Result<u64, Fault> {
    const SUBSCRIPTIONS: &str = "SELECT id, deleted_at IS NOT NULL, status <> 'enabled'
         FROM webhook_subscriptions AS subscription
         WHERE deleted_at IS NULL
            OR EXISTS (SELECT 1 FROM webhook_deliveries AS delivery WHERE delivery.subscription_id = subscription.id)";
    // The oldest are looked at, not all: one that was sent again lately holds up those behind it for a while.
    const DELETE: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM (SELECT number, finished_at FROM webhook_deliveries
                 WHERE subscription_id = $1 AND status = $2 ORDER BY number LIMIT $4) AS oldest
             WHERE finished_at < $3)";
    const DELETE_ALL: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM webhook_deliveries WHERE subscription_id = $1 LIMIT $2)";
    const FAIL: &str = "UPDATE webhook_deliveries
         SET status = 'failed', finished_at = $3, next_attempt_at = NULL, claim = NULL,
             last_error = 'the subscription was not enabled in time'
         WHERE number IN (SELECT number FROM (SELECT number, queued_at FROM webhook_deliveries
                 WHERE subscription_id = $1 AND status = 'pending' ORDER BY next_attempt_at, number LIMIT $4) AS oldest
             WHERE queued_at < $2)";
    let mut pruned = 0;
    for row in client.query(SUBSCRIPTIONS, &[]).await? {
        let (id, deleted, disabled): (Uuid, bool, bool) = (cell(&row, 0)?, cell(&row, 1)?, cell(&row, 2)?);
        if deleted {
            pruned += client.execute(DELETE_ALL, &[&id, &limit]).await?;
            continue;
        }
        for (status, before) in
            [(Status::Delivered, retention.delivered_before), (Status::Failed, retention.failed_before)]
        {
            pruned += client.execute(DELETE, &[&id, &status, &Instant::from(before), &limit]).await?;
        }
        if disabled {
            let (before, now) = (Instant::from(retention.waiting_before), Instant::from(retention.now));
            pruned += client.execute(FAIL, &[&id, &before, &now, &limit]).await?;
        }
    }
    Ok(pruned)
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
