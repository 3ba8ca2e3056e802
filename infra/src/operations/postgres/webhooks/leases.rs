//! The leases of deliveries, and the outcomes of their attempts.

use deadpool_postgres::{Object, Transaction};
use domain::Timestamp;
use futures::future::try_join_all;
use postgres_types::ToSql;
use uuid::Uuid;

use super::columns::{DeliveryStatusColumn, delivery};
use crate::{
    operations::webhooks::{
        AttemptOutcome, DeliveryId, SubscriptionId, WebhookDelivery,
        rules::{DELIVERY_COLUMNS, SettledDelivery, leasable, sql_limit},
    },
    postgres::{Fault, Timestamptz},
};

pub(super) async fn claim(
    client: &mut Object,
    claim: Uuid,
    slots: &[(SubscriptionId, usize)],
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<WebhookDelivery>, Fault> {
    let update = format!(
        "WITH due AS (
             SELECT picked.number FROM unnest($1::uuid[], $2::bigint[]) AS slot (subscription_id, free)
             CROSS JOIN LATERAL (
                 SELECT number FROM webhook_deliveries
                 WHERE subscription_id = slot.subscription_id AND {}
                 ORDER BY next_attempt_at, number LIMIT slot.free FOR UPDATE SKIP LOCKED
             ) AS picked
         )
         UPDATE webhook_deliveries SET claim = $4, next_attempt_at = $5
         WHERE number IN (SELECT number FROM due)
         RETURNING {DELIVERY_COLUMNS}",
        leasable("$3")
    );
    let (subscriptions, free): (Vec<Uuid>, Vec<i64>) =
        slots.iter().map(|(subscription, free)| (subscription.0, sql_limit(*free))).unzip();
    let statement = client.prepare_cached(&update).await?;
    let values: [&(dyn ToSql + Sync); 5] =
        [&subscriptions, &free, &Timestamptz::from(now), &claim, &Timestamptz::from(until)];
    let rows = client.query(&statement, &values).await?;
    let mut claimed = rows.iter().map(delivery).collect::<Result<Vec<_>, Fault>>()?;
    claimed.sort_by_key(|delivery| delivery.number);
    Ok(claimed)
}

pub(super) async fn settle(
    client: &mut Object,
    claim: Uuid,
    outcomes: &[AttemptOutcome],
) -> Result<(), Fault> {
    let transaction = client.transaction().await?;
    // The client sends all before it waits for the first answer.
    try_join_all(outcomes.iter().map(|outcome| settle_one(&transaction, claim, outcome))).await?;
    Ok(transaction.commit().await?)
}

async fn settle_one(
    transaction: &Transaction<'_>,
    claim: Uuid,
    outcome: &AttemptOutcome,
) -> Result<(), Fault> {
    const UPDATE: &str = "UPDATE webhook_deliveries
         SET attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, $3), last_attempt_at = $3,
             last_status = $4, last_error = $5, status = $6, next_attempt_at = $7, finished_at = $8, claim = NULL
         WHERE id = $1 AND claim = $2";
    let settled = SettledDelivery::from(outcome);
    let statement = transaction.prepare_cached(UPDATE).await?;
    let values: [&(dyn ToSql + Sync); 8] = [
        &outcome.delivery.0,
        &claim,
        &Timestamptz::from(outcome.attempted_at),
        &outcome.status.map(i32::from),
        &outcome.error,
        &DeliveryStatusColumn::from(settled.status),
        &settled.next_attempt_at.map(Timestamptz::from),
        &settled.finished_at.map(Timestamptz::from),
    ];
    transaction.execute(&statement, &values).await?;
    Ok(())
}

pub(super) async fn release(
    client: &mut Object,
    claim: Uuid,
    deliveries: &[DeliveryId],
    now: Timestamp,
) -> Result<(), Fault> {
    const UPDATE: &str = "UPDATE webhook_deliveries SET claim = NULL, next_attempt_at = $3
         WHERE id = ANY($1) AND claim = $2";
    let ids: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.0).collect();
    let statement = client.prepare_cached(UPDATE).await?;
    client.execute(&statement, &[&ids, &claim, &Timestamptz::from(now)]).await?;
    Ok(())
}
