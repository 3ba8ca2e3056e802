//! Queued notices. They are written in the same transaction as the events that they report.

use std::time::Duration;

use domain::Timestamp;
use rusqlite::{Transaction, params};

use super::{ChargeKey, Ledger, LedgerError};
use crate::{account::ChargeEvent, resource::NoticeBody, script::SandboxScript};

/// A notice that is due.
#[derive(Debug, Clone)]
pub struct DueNotice {
    /// The id of this copy in the ledger.
    pub sequence: i64,
    /// The `webhook-id`.
    pub message_id: String,
    pub body: String,
    /// The number of earlier attempts.
    pub attempts: u32,
}

/// The outcome of an attempt to send a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeOutcome {
    Delivered,
    RetryAfter(Duration),
    GivenUp,
}

/// Queues notices. The script draws random losses, duplicates and delays.
pub(super) fn queue(
    transaction: &Transaction<'_>,
    key: ChargeKey,
    script: &SandboxScript,
    events: &[ChargeEvent],
) -> Result<(), LedgerError> {
    const INSERT: &str = "INSERT INTO webhooks (message_id, body, next_attempt_at) VALUES (?1, ?2, ?3)";
    let mut insert = transaction.prepare_cached(INSERT)?;
    for ChargeEvent { number, kind, refund_id, dispute_id, charge } in events {
        let message_id = format!("msg_{}_{}_{number}", key.payment_id, key.number);
        let timestamp = charge.updated_at;
        let event = NoticeBody {
            kind: *kind,
            timestamp,
            refund_id: *refund_id,
            dispute_id: dispute_id.clone(),
            data: charge.clone(),
        };
        let body = serde_json::to_string(&event)?;
        for delay in script.notice_delays(key.draw_key("webhook", *number)) {
            let at = timestamp.checked_add(delay).unwrap_or(Timestamp::MAX).as_microsecond();
            insert.execute(params![message_id, body, at])?;
        }
    }
    Ok(())
}

impl Ledger {
    /// At most `limit` due notices, without those in progress. Also returns when the next notice is due.
    pub async fn due_notices(
        &self,
        in_progress: Vec<i64>,
        limit: usize,
    ) -> Result<(Vec<DueNotice>, Option<Timestamp>), LedgerError> {
        const SELECT: &str = "SELECT sequence, message_id, body, attempts, next_attempt_at FROM webhooks
             ORDER BY next_attempt_at, sequence LIMIT ?1";
        let now = self.now().as_microsecond();
        self.with(move |transaction| {
            let mut select = transaction.prepare_cached(SELECT)?;
            // Notices in progress are among the first rows. One row more shows when to search again.
            let rows_max = i64::try_from(limit + in_progress.len() + 1).unwrap_or(i64::MAX);
            let mut rows = select.query([rows_max])?;
            let (mut due, mut next) = (Vec::new(), None);
            while let Some(row) = rows.next()? {
                let (sequence, at): (i64, i64) = (row.get(0)?, row.get(4)?);
                if in_progress.contains(&sequence) {
                    continue;
                }
                if at > now || due.len() == limit {
                    next = Timestamp::from_microsecond(at).ok();
                    break;
                }
                let (message_id, body, attempts) = (row.get(1)?, row.get(2)?, row.get(3)?);
                due.push(DueNotice { sequence, message_id, body, attempts });
            }
            Ok((due, next))
        })
        .await
    }

    /// Records the outcome of an attempt. A delivered or given up notice is removed and counted.
    pub async fn notice_sent(&self, sequence: i64, sent: NoticeOutcome) -> Result<(), LedgerError> {
        const DELETE: &str = "DELETE FROM webhooks WHERE sequence = ?1";
        const COUNT: &str = "INSERT INTO webhooks_ended (outcome, count) VALUES (?1, 1)
             ON CONFLICT DO UPDATE SET count = count + 1";
        const AGAIN: &str =
            "UPDATE webhooks SET attempts = attempts + 1, next_attempt_at = ?2 WHERE sequence = ?1";
        let now = self.now();
        self.with(move |transaction| {
            let outcome = match sent {
                NoticeOutcome::Delivered => "delivered",
                NoticeOutcome::GivenUp => "given_up",
                NoticeOutcome::RetryAfter(pause) => {
                    let at = now.checked_add(pause).unwrap_or(Timestamp::MAX).as_microsecond();
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
