//! The leases of deliveries, and the outcomes of their attempts.

use domain::Timestamp;
use rusqlite::{Transaction, params};
use uuid::Uuid;

use super::columns::delivery;
use crate::operations::webhooks::{
    AttemptOutcome, DeliveryId, SubscriptionId, WebhookDelivery,
    rules::{DELIVERY_COLUMNS, SettledDelivery, leasable, sql_limit},
};

pub(super) fn claim(
    transaction: &Transaction<'_>,
    claim: Uuid,
    slots: &[(SubscriptionId, usize)],
    now: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<Vec<WebhookDelivery>> {
    let mut statement = transaction.prepare_cached(&format!(
        "UPDATE webhook_deliveries SET claim = ?1, next_attempt_at = ?2
         WHERE number IN (SELECT number FROM webhook_deliveries
             WHERE subscription_id = ?3 AND {}
             ORDER BY next_attempt_at, number LIMIT ?5)
         RETURNING {DELIVERY_COLUMNS}",
        leasable("?4")
    ))?;
    let (now, until) = (now.as_microsecond(), until.as_microsecond());
    let mut claimed = Vec::new();
    for (subscription, free) in slots {
        let values = params![claim, until, subscription.0, now, sql_limit(*free)];
        for row in statement.query_map(values, delivery)? {
            claimed.push(row?);
        }
    }
    claimed.sort_by_key(|delivery| delivery.number);
    Ok(claimed)
}

pub(super) fn settle(
    transaction: &Transaction<'_>,
    claim: Uuid,
    outcomes: &[AttemptOutcome],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE webhook_deliveries
         SET attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?3), last_attempt_at = ?3,
             last_status = ?4, last_error = ?5, status = ?6, next_attempt_at = ?7, finished_at = ?8, claim = NULL
         WHERE id = ?1 AND claim = ?2",
    )?;
    for outcome in outcomes {
        let settled = SettledDelivery::from(outcome);
        statement.execute(params![
            outcome.delivery.0,
            claim,
            outcome.attempted_at.as_microsecond(),
            outcome.status,
            outcome.error,
            settled.status.as_str(),
            settled.next_attempt_at.map(Timestamp::as_microsecond),
            settled.finished_at.map(Timestamp::as_microsecond),
        ])?;
    }
    Ok(())
}

pub(super) fn release(
    transaction: &Transaction<'_>,
    claim: Uuid,
    deliveries: &[DeliveryId],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE webhook_deliveries SET claim = NULL, next_attempt_at = ?3 WHERE id = ?1 AND claim = ?2",
    )?;
    for delivery in deliveries {
        statement.execute(params![delivery.0, claim, now.as_microsecond()])?;
    }
    Ok(())
}
