//! Webhooks that are still to be sent: written down with what they tell of.

use std::time::Duration;

use domain::Timestamp;
use rusqlite::{Transaction, params};

use super::{ChargeKey, Ledger, LedgerError};
use crate::payment_provider::sandbox::{account::News, resource::Event, script::Script};

/// A webhook whose time has come.
#[derive(Debug, Clone)]
pub struct DueWebhook {
    /// Names this copy in the ledger.
    pub sequence: i64,
    /// The `webhook-id`.
    pub message_id: String,
    pub body: String,
    /// How often it was sent before.
    pub attempts: u32,
}

/// What becomes of a webhook that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    Again { after: Duration },
    GivenUp,
}

/// Writes down what is to be sent, as often and as late as chance will have it.
pub(super) fn announce(
    transaction: &Transaction<'_>,
    key: ChargeKey,
    script: &Script,
    news: &[News],
) -> Result<(), LedgerError> {
    const INSERT: &str = "INSERT INTO webhooks (message_id, body, next_attempt_at) VALUES (?1, ?2, ?3)";
    let mut insert = transaction.prepare_cached(INSERT)?;
    for News { number, kind, refund_id, charge } in news {
        let message_id = format!("msg_{}_{}_{number}", key.payment_id, key.number);
        let timestamp = charge.updated_at;
        let event = Event { kind: *kind, timestamp, refund_id: *refund_id, data: charge.clone() };
        let body = serde_json::to_string(&event)?;
        for delay in script.deliveries(key.occasion("webhook", *number)) {
            let at = timestamp.checked_add(delay).unwrap_or(Timestamp::MAX).as_microsecond();
            insert.execute(params![message_id, body, at])?;
        }
    }
    Ok(())
}

impl Ledger {
    /// Up to `limit` webhooks that are due, without those with these sequence numbers; and when the next one is.
    pub async fn due_webhooks(
        &self,
        under_way: Vec<i64>,
        limit: usize,
    ) -> Result<(Vec<DueWebhook>, Option<Timestamp>), LedgerError> {
        const SELECT: &str = "SELECT sequence, message_id, body, attempts, next_attempt_at FROM webhooks
             ORDER BY next_attempt_at, sequence LIMIT ?1";
        let now = self.now().as_microsecond();
        self.with(move |transaction| {
            let mut select = transaction.prepare_cached(SELECT)?;
            // Those under way are among the first; one more tells when to look again.
            let rows_max = i64::try_from(limit + under_way.len() + 1).unwrap_or(i64::MAX);
            let mut rows = select.query([rows_max])?;
            let (mut due, mut next) = (Vec::new(), None);
            while let Some(row) = rows.next()? {
                let (sequence, at): (i64, i64) = (row.get(0)?, row.get(4)?);
                if under_way.contains(&sequence) {
                    continue;
                }
                if at > now || due.len() == limit {
                    next = Timestamp::from_microsecond(at).ok();
                    break;
                }
                let (message_id, body, attempts) = (row.get(1)?, row.get(2)?, row.get(3)?);
                due.push(DueWebhook { sequence, message_id, body, attempts });
            }
            Ok((due, next))
        })
        .await
    }

    pub async fn webhook_sent(&self, sequence: i64, sent: Sent) -> Result<(), LedgerError> {
        const DELETE: &str = "DELETE FROM webhooks WHERE sequence = ?1";
        const COUNT: &str = "INSERT INTO webhooks_ended (outcome, count) VALUES (?1, 1)
             ON CONFLICT DO UPDATE SET count = count + 1";
        const AGAIN: &str =
            "UPDATE webhooks SET attempts = attempts + 1, next_attempt_at = ?2 WHERE sequence = ?1";
        let now = self.now();
        self.with(move |transaction| {
            let outcome = match sent {
                Sent::Delivered => "delivered",
                Sent::GivenUp => "given_up",
                Sent::Again { after } => {
                    let at = now.checked_add(after).unwrap_or(Timestamp::MAX).as_microsecond();
                    transaction.prepare_cached(AGAIN)?.execute(params![sequence, at])?;
                    return Ok(());
                }
            };
            transaction.prepare_cached(DELETE)?.execute([sequence])?;
            transaction.prepare_cached(COUNT)?.execute([outcome])?;
            Ok(())
        })
        .await
    }
}
