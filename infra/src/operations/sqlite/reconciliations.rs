//! Comparisons with the provider in the SQLite file of the operational state.

use async_trait::async_trait;
use domain::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    SqliteOperations,
    webhooks::columns::{time, unreadable},
};
use crate::operations::{
    OperationsError,
    reconciliations::{Reconciliation, ReconciliationHead, Reconciliations},
    webhooks::rules::sql_limit,
};

#[async_trait]
impl Reconciliations for SqliteOperations {
    async fn keep(&self, reconciliation: &Reconciliation) -> Result<(), OperationsError> {
        const UPSERT: &str = "INSERT INTO reconciliations
                 (provider, period_from, period_to, compared_at, differences, recorded, found)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (period_from, provider) DO UPDATE
             SET period_to = ?3, compared_at = ?4, differences = ?5, recorded = ?6, found = ?7";
        const FORGET: &str = "DELETE FROM reconciliations WHERE (period_from, provider) IN
             (SELECT period_from, provider FROM reconciliations
              ORDER BY period_from DESC, provider DESC LIMIT -1 OFFSET ?1)";
        let head = reconciliation.head();
        let found = serde_json::to_string(reconciliation).expect("comparisons have string keys");
        self.durably(move |transaction| {
            transaction.execute(
                UPSERT,
                params![
                    head.provider,
                    head.from.as_microsecond(),
                    head.to.as_microsecond(),
                    head.compared_at.as_microsecond(),
                    head.differences_count.cast_signed(),
                    head.recorded_count.cast_signed(),
                    found,
                ],
            )?;
            transaction.execute(FORGET, [sql_limit(Reconciliation::PERIODS_MAX)]).map(drop)
        })
        .await
    }

    async fn list(&self, limit: usize) -> Result<Vec<ReconciliationHead>, OperationsError> {
        const SELECT: &str = "SELECT provider, period_from, period_to, compared_at, differences, recorded
             FROM reconciliations ORDER BY period_from DESC, provider DESC LIMIT ?1";
        let limit = sql_limit(limit);
        self.with(move |connection| connection.prepare_cached(SELECT)?.query_map([limit], head)?.collect())
            .await
    }

    async fn latest(&self, from: Option<Timestamp>) -> Result<Option<Reconciliation>, OperationsError> {
        const SELECT: &str = "SELECT found FROM reconciliations WHERE ?1 IS NULL OR period_from = ?1
             ORDER BY compared_at DESC LIMIT 1";
        let from = from.map(Timestamp::as_microsecond);
        self.with(move |connection| {
            let found = |row: &Row<'_>| row.get::<_, String>(0);
            let text = connection.prepare_cached(SELECT)?.query_row([from], found).optional()?;
            text.map(|text| serde_json::from_str(&text).map_err(|error| unreadable(0, error))).transpose()
        })
        .await
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<ReconciliationHead> {
    Ok(ReconciliationHead {
        provider: row.get(0)?,
        from: time(row, 1)?,
        to: time(row, 2)?,
        compared_at: time(row, 3)?,
        differences_count: row.get::<_, i64>(4)?.cast_unsigned(),
        recorded_count: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}
