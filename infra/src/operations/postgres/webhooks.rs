//! The webhook store in the Postgres database of the read models.

pub(super) mod columns;
mod leases;
mod secrets;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{Actor, Position, Timestamp};
use postgres_types::ToSql;
use uuid::Uuid;

use self::columns::{DeliveryStatusColumn, SubscriptionStatusColumn, cell, delivery, subscription};
use super::{PostgresOperations, move_position, reached};
use crate::{
    event_source::{Partition, Reached},
    operations::{
        OperationsError,
        webhooks::{
            AttemptOutcome, CatchUpStep, DeliveryId, DeliveryRetention, DeliveryStatus, EnqueueBatch,
            EnqueueOutcome, NewDelivery, NewSubscription, SkippedEvents, SubscribeOutcome, Subscription,
            SubscriptionChange, SubscriptionId, WebhookDelivery, WebhookStore,
            rules::{
                COUNT_SUBSCRIPTIONS, ChangedSecrets, DELIVERY_COLUMNS, EarlierRequest, NEVER_SUBSCRIBED,
                OnDuplicate, PRUNABLE_SUBSCRIPTIONS, PruneStep, REACTOR, REPLACE_CURSOR_OF_ANOTHER_LOG,
                STREAM_UNREADABLE, SUBSCRIPTION_COLUMNS, caught_up_to, expire, listed, move_back,
                newest_first, not_leased, prune_steps, requeue, secret_place, skip, sql_limit,
            },
        },
    },
    postgres::{Fault, Timestamptz},
    sealing::SecretKeys,
};

/// Makes the commit wait for the server's disk. The pool's connections set `synchronous_commit` to off.
pub(super) const DURABLY: &str = "SET LOCAL synchronous_commit = on";

#[async_trait]
impl WebhookStore for PostgresOperations {
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<SubscribeOutcome, OperationsError> {
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let subscribed = subscribe(&transaction, &new, max, &self.secret_keys).await?;
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
            let rows = client.query(&statement, &[&after, &sql_limit(limit)]).await?;
            let read = |row| subscription(row, &self.secret_keys);
            rows.iter().map(read).collect::<Result<Vec<_>, Fault>>()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError> {
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&find("")).await?;
            let row = client.query_opt(&statement, &[&id.0]).await?;
            row.as_ref().map(|row| subscription(row, &self.secret_keys)).transpose()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn change(
        &self,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions SET url = $2, event_types = $3, description = $4,
                 status = $5, secret = coalesce($6, secret),
                 previous_secret = CASE WHEN $12 THEN $7 ELSE previous_secret END,
                 previous_secret_until = CASE WHEN $12 THEN $8 ELSE previous_secret_until END,
                 rotated_by = $9, updated_at = $10, failing_since = $11
             WHERE id = $1";
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let Some(row) = transaction.query_opt(&find("FOR UPDATE"), &[&id.0]).await? else {
                return Ok::<_, Fault>(None);
            };
            let before = subscription(&row, &self.secret_keys)?;
            let mut changed = before.clone();
            change(&mut changed);
            let secrets = ChangedSecrets::new(&before, &changed, &self.secret_keys);
            transaction
                .execute(
                    UPDATE,
                    &[
                        &id.0,
                        &changed.url,
                        &changed.event_types.patterns(),
                        &changed.description,
                        &SubscriptionStatusColumn::from(changed.status),
                        &secrets.secret,
                        &secrets.previous,
                        &secrets.previous_until.map(Timestamptz::from),
                        &changed.rotated_by,
                        &Timestamptz::from(changed.updated_at),
                        &changed.failing_since.map(Timestamptz::from),
                        &secrets.replaces_previous,
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Some(changed))
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn seal_secrets(&self) -> Result<usize, OperationsError> {
        secrets::seal(self).await
    }

    async fn unsubscribe(&self, id: SubscriptionId, now: Timestamp) -> Result<bool, OperationsError> {
        const UPDATE: &str = "UPDATE webhook_subscriptions
             SET deleted_at = $2, secret = '', previous_secret = NULL, previous_secret_until = NULL
             WHERE id = $1 AND deleted_at IS NULL";
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let ended = transaction.execute(UPDATE, &[&id.0, &Timestamptz::from(now)]).await? > 0;
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
    ) -> Result<Option<Reached>, OperationsError> {
        const SELECT: &str = "SELECT position, last_event FROM reactor_positions
             WHERE reactor = $1 AND partition = $2 AND store_id = $3";
        // The caller read `end` before. If no subscription exists now, none existed then.
        let begin = format!(
            "INSERT INTO reactor_positions (reactor, partition, store_id, position)
             SELECT $1, $2, $3, $4 WHERE {NEVER_SUBSCRIBED} {REPLACE_CURSOR_OF_ANOTHER_LOG}"
        );
        let work = async |client: &mut Object| {
            if let Some(end) = end {
                let values: [&(dyn ToSql + Sync); 4] =
                    [&REACTOR, &partition.0, &store_id, &end.cast_signed()];
                client.execute(&begin, &values).await?;
            }
            let row = client.query_opt(SELECT, &[&REACTOR, &partition.0, &store_id]).await?;
            row.map(|row| reached(&row, 0)).transpose()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn start_no_later_than(&self, position: Option<Position>) -> Result<(), OperationsError> {
        let update = move_back("$1::bigint");
        let position = position.map(u64::cast_signed);
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            transaction.execute(&update, &[&position]).await?;
            Ok::<_, Fault>(transaction.commit().await?)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn enqueue(&self, batch: &EnqueueBatch, now: Timestamp) -> Result<EnqueueOutcome, OperationsError> {
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            let EnqueueBatch { store_id, partition, after, reached, .. } = batch;
            if !move_position(&transaction, REACTOR, *store_id, partition, *after, reached).await? {
                return Ok::<_, Fault>(EnqueueOutcome::Overtaken);
            }
            // Before the deliveries, as in `catch_up`: in another order the two could wait for each other.
            note_skipped(&transaction, &batch.skipped).await?;
            let added = insert(&transaction, &batch.deliveries, now, OnDuplicate::Keep).await?;
            transaction.commit().await?;
            Ok(EnqueueOutcome::Written { added })
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn catch_up(&self, step: &CatchUpStep, now: Timestamp) -> Result<bool, OperationsError> {
        let advance = format!(
            "UPDATE webhook_subscriptions SET {} WHERE id = $1 AND behind_after = $2 AND deleted_at IS NULL",
            caught_up_to("$3")
        );
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            let (after, position) = (step.after.cast_signed(), step.position.cast_signed());
            if transaction.execute(&advance, &[&step.subscription.0, &after, &position]).await? == 0 {
                return Ok::<_, Fault>(false);
            }
            insert(&transaction, &step.deliveries, now, OnDuplicate::Keep).await?;
            transaction.commit().await?;
            Ok(true)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn pending(
        &self,
        subscription: SubscriptionId,
        due_by: Timestamp,
        max: usize,
    ) -> Result<usize, OperationsError> {
        const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries
             WHERE subscription_id = $1 AND status = 'pending' AND next_attempt_at <= $2 LIMIT $3) AS pending";
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(COUNT).await?;
            let row = client
                .query_one(&statement, &[&subscription.0, &Timestamptz::from(due_by), &sql_limit(max)])
                .await?;
            cell::<i64>(&row, 0)
        };
        let count = self.database().await?.run(work).await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError> {
        let work = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            insert(&transaction, deliveries, now, OnDuplicate::Requeue).await?;
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
    ) -> Result<Vec<WebhookDelivery>, OperationsError> {
        let work = async |client: &mut Object| leases::claim(client, claim, slots, now, until).await;
        Ok(self.database().await?.run(work).await?)
    }

    async fn settle(&self, claim: Uuid, outcomes: &[AttemptOutcome]) -> Result<(), OperationsError> {
        let work = async |client: &mut Object| leases::settle(client, claim, outcomes).await;
        Ok(self.database().await?.run(work).await?)
    }

    async fn release(
        &self,
        claim: Uuid,
        deliveries: &[DeliveryId],
        now: Timestamp,
    ) -> Result<(), OperationsError> {
        let work = async |client: &mut Object| leases::release(client, claim, deliveries, now).await;
        Ok(self.database().await?.run(work).await?)
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
             WHERE subscription_id = $1 AND status = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
        );
        let before = before.map_or(i64::MAX, u64::cast_signed);
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(&select).await?;
            let mut found = Vec::new();
            for one in listed(status) {
                let values: [&(dyn ToSql + Sync); 4] =
                    [&subscription.0, &DeliveryStatusColumn::from(one), &before, &sql_limit(limit)];
                for row in client.query(&statement, &values).await? {
                    found.push(delivery(&row)?);
                }
            }
            Ok::<_, Fault>(found)
        };
        Ok(newest_first(self.database().await?.run(work).await?, limit))
    }

    async fn retry(
        &self,
        subscription: SubscriptionId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<WebhookDelivery>, OperationsError> {
        let update = format!(
            "UPDATE webhook_deliveries SET {} WHERE id = $1 AND subscription_id = $2 AND {}",
            requeue("$3"),
            not_leased("$3")
        );
        let select = format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE id = $1 AND subscription_id = $2"
        );
        let work = async |client: &mut Object| {
            client.execute(&update, &[&id.0, &subscription.0, &Timestamptz::from(now)]).await?;
            let row = client.query_opt(&select, &[&id.0, &subscription.0]).await?;
            row.as_ref().map(delivery).transpose()
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn prune(&self, retention: DeliveryRetention, limit: usize) -> Result<usize, OperationsError> {
        let work = async |client: &mut Object| prune(client, retention, sql_limit(limit)).await;
        let pruned = self.database().await?.run(work).await?;
        Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
    }
}

async fn subscribe(
    transaction: &Transaction<'_>,
    new: &NewSubscription,
    max: usize,
    keys: &SecretKeys,
) -> Result<SubscribeOutcome, Fault> {
    // Serialises concurrent subscribes: duplicates of a request, and races for the last free subscription.
    const LOCK: &str = "LOCK TABLE webhook_subscriptions IN SHARE ROW EXCLUSIVE MODE";
    const EARLIER: &str =
        "SELECT key, fingerprint, deleted_at IS NOT NULL FROM webhook_subscriptions WHERE id = $1";
    const INSERT: &str =
        "INSERT INTO webhook_subscriptions (id, key, fingerprint, url, event_types, description,
             status, secret, after, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'enabled', $7, $8, $9, $9)";
    transaction.batch_execute(LOCK).await?;
    if let Some(row) = transaction.query_opt(EARLIER, &[&new.id.0]).await? {
        let earlier =
            EarlierRequest { key: cell(&row, 0)?, fingerprint: cell(&row, 1)?, deleted: cell(&row, 2)? };
        if let Some(refusal) = earlier.refuses(new) {
            return Ok(refusal);
        }
        let repeated = transaction.query_one(&find(""), &[&new.id.0]).await?;
        return Ok(SubscribeOutcome::Repeated(subscription(&repeated, keys)?));
    }
    let count: i64 = cell(&transaction.query_one(COUNT_SUBSCRIPTIONS, &[]).await?, 0)?;
    if count >= sql_limit(max) {
        return Ok(SubscribeOutcome::TooMany);
    }
    let values: [&(dyn ToSql + Sync); 9] = [
        &new.id.0,
        &new.key,
        &new.fingerprint,
        &new.url,
        &new.event_types.patterns(),
        &new.description,
        &keys.seal(&new.secret, secret_place(new.id)),
        &new.after.map(u64::cast_signed),
        &Timestamptz::from(new.now),
    ];
    transaction.execute(INSERT, &values).await?;
    let created = transaction.query_one(&find(""), &[&new.id.0]).await?;
    Ok(SubscribeOutcome::Created(subscription(&created, keys)?))
}

fn find(lock: &str) -> String {
    format!(
        "SELECT {SUBSCRIPTION_COLUMNS} FROM webhook_subscriptions WHERE id = $1 AND deleted_at IS NULL {lock}"
    )
}

/// Returns the number of rows written.
async fn insert(
    transaction: &Transaction<'_>,
    deliveries: &[NewDelivery],
    now: Timestamp,
    duplicates: OnDuplicate,
) -> Result<usize, Fault> {
    if deliveries.is_empty() {
        return Ok(0);
    }
    let insert = format!(
        "INSERT INTO webhook_deliveries (id, subscription_id, event_id, event_type, stream, revision, position,
             recorded_at, order_id, sequence, previous_sequence, status, queued_at, next_attempt_at, last_error,
             actor)
         SELECT one.id, one.subscription_id, one.event_id, one.event_type, one.stream, one.revision, one.position,
             one.recorded_at, one.order_id, one.sequence, one.previous_sequence, 'pending', $12, $12,
             one.last_error, one.actor
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                 $8::timestamptz[], $9::uuid[], $10::bigint[], $11::bigint[], $13::text[], $14::text[])
             AS one (id, subscription_id, event_id, event_type, stream, revision, position, recorded_at, order_id,
                 sequence, previous_sequence, last_error, actor)
         WHERE EXISTS (SELECT 1 FROM webhook_subscriptions AS subscription
             WHERE subscription.id = one.subscription_id AND subscription.deleted_at IS NULL)
         {}",
        duplicates.clause()
    );
    let statement = transaction.prepare_cached(&insert).await?;
    let values: [&(dyn ToSql + Sync); 14] = [
        &column(deliveries, |one| one.id().0),
        &column(deliveries, |one| one.subscription.0),
        &column(deliveries, |one| one.event.0),
        &column(deliveries, |one| one.event_type.clone()),
        &column(deliveries, |one| one.stream.to_string()),
        &column(deliveries, |one| one.revision.cast_signed()),
        &column(deliveries, |one| one.position.cast_signed()),
        &column(deliveries, |one| Timestamptz::from(one.recorded_at)),
        &column(deliveries, |one| one.place.map_or(Uuid::nil(), |place| place.order.0)),
        &column(deliveries, |one| one.place.map_or(0, |place| place.sequence.number.cast_signed())),
        &column(deliveries, |one| one.place.and_then(|place| place.sequence.previous).map(u64::cast_signed)),
        &Timestamptz::from(now),
        &column(deliveries, |one| one.place.is_none().then_some(STREAM_UNREADABLE)),
        &column(deliveries, |one| one.actor.as_ref().map(Actor::to_json)),
    ];
    let written = transaction.execute(&statement, &values).await?;
    Ok(usize::try_from(written).unwrap_or(usize::MAX))
}

fn column<T>(deliveries: &[NewDelivery], value: impl Fn(&NewDelivery) -> T) -> Vec<T> {
    deliveries.iter().map(value).collect()
}

async fn note_skipped(transaction: &Transaction<'_>, skipped: &[SkippedEvents]) -> Result<(), Fault> {
    let update = format!(
        "UPDATE webhook_subscriptions SET {} WHERE id = $1 AND deleted_at IS NULL",
        skip("$2", "$3", "$4")
    );
    for SkippedEvents { subscription, after, first, last } in skipped {
        let statement = transaction.prepare_cached(&update).await?;
        let values: [&(dyn ToSql + Sync); 4] =
            [&subscription.0, &after.cast_signed(), &first.cast_signed(), &last.cast_signed()];
        transaction.execute(&statement, &values).await?;
    }
    Ok(())
}

async fn prune(client: &mut Object, retention: DeliveryRetention, limit: i64) -> Result<u64, Fault> {
    // Looks only at the `limit` oldest rows. If they were sent again recently, newer rows stay longer than
    // needed.
    const DELETE_FINISHED: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM (SELECT number, finished_at FROM webhook_deliveries
                 WHERE subscription_id = $1 AND status = $2 ORDER BY number LIMIT $4) AS oldest
             WHERE finished_at < $3)";
    const DELETE_ALL: &str = "DELETE FROM webhook_deliveries WHERE number IN (
             SELECT number FROM webhook_deliveries WHERE subscription_id = $1 LIMIT $2)";
    let expire_pending = format!(
        "UPDATE webhook_deliveries SET {}
         WHERE number IN (SELECT number FROM (SELECT number, queued_at FROM webhook_deliveries
                 WHERE subscription_id = $1 AND status = 'pending' ORDER BY next_attempt_at, number LIMIT $4) AS oldest
             WHERE queued_at < $2)
         AND {}",
        expire("$3"),
        not_leased("$3")
    );
    let mut pruned = 0;
    for row in client.query(PRUNABLE_SUBSCRIPTIONS, &[]).await? {
        let (id, deleted): (Uuid, bool) = (cell(&row, 0)?, cell(&row, 1)?);
        for step in prune_steps(deleted, retention) {
            pruned += match step {
                PruneStep::DeleteAll => client.execute(DELETE_ALL, &[&id, &limit]).await?,
                PruneStep::DeleteFinished { status, before } => {
                    let (status, before) = (DeliveryStatusColumn::from(status), Timestamptz::from(before));
                    client.execute(DELETE_FINISHED, &[&id, &status, &before, &limit]).await?
                }
                PruneStep::Expire { queued_before, now } => {
                    let (queued_before, now) = (Timestamptz::from(queued_before), Timestamptz::from(now));
                    client.execute(&expire_pending, &[&id, &queued_before, &now, &limit]).await?
                }
            };
        }
    }
    Ok(pruned)
}
