//! Comparisons with the provider in the Postgres database of the read models.

use async_trait::async_trait;
use deadpool_postgres::Object;
use domain::Timestamp;
use tokio_postgres::Row;

use super::{
    PostgresOperations,
    webhooks::{
        DURABLY,
        columns::{cell, corrupt, time},
    },
};
use crate::{
    operations::{
        OperationsError,
        reconciliations::{Reconciliation, ReconciliationHead, Reconciliations},
        webhooks::rules::sql_limit,
    },
    postgres::{Fault, Timestamptz},
};

#[async_trait]
impl Reconciliations for PostgresOperations {
    async fn keep(&self, reconciliation: &Reconciliation) -> Result<(), OperationsError> {
        const UPSERT: &str = "INSERT INTO reconciliations
                 (provider, period_from, period_to, compared_at, differences, recorded, found)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (period_from, provider) DO UPDATE
             SET period_to = $3, compared_at = $4, differences = $5, recorded = $6, found = $7";
        const FORGET: &str = "DELETE FROM reconciliations WHERE (period_from, provider) IN
             (SELECT period_from, provider FROM reconciliations
              ORDER BY period_from DESC, provider DESC OFFSET $1)";
        let head = reconciliation.head();
        let found = serde_json::to_string(reconciliation).expect("comparisons have string keys");
        let keep = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let times = [head.from, head.to, head.compared_at].map(Timestamptz::from);
            let counts = [head.differences_count, head.recorded_count].map(u64::cast_signed);
            let ([from, to, compared_at], [differences, recorded]) = (&times, &counts);
            let values: [&(dyn postgres_types::ToSql + Sync); 7] =
                [&head.provider, from, to, compared_at, differences, recorded, &found];
            transaction.execute(UPSERT, &values).await?;
            let kept = sql_limit(Reconciliation::PERIODS_MAX);
            transaction.execute(FORGET, &[&kept]).await?;
            Ok::<_, Fault>(transaction.commit().await?)
        };
        Ok(self.database().await?.run(keep).await?)
    }

    async fn list(&self, limit: usize) -> Result<Vec<ReconciliationHead>, OperationsError> {
        const SELECT: &str = "SELECT provider, period_from, period_to, compared_at, differences, recorded
             FROM reconciliations ORDER BY period_from DESC, provider DESC LIMIT $1";
        let limit = sql_limit(limit);
        let select = async |client: &mut Object| {
            let statement = client.prepare_cached(SELECT).await?;
            client.query(&statement, &[&limit]).await?.iter().map(head).collect::<Result<_, Fault>>()
        };
        Ok(self.database().await?.run(select).await?)
    }

    async fn latest(&self, from: Option<Timestamp>) -> Result<Option<Reconciliation>, OperationsError> {
        const SELECT: &str = "SELECT found FROM reconciliations
             WHERE $1::timestamptz IS NULL OR period_from = $1 ORDER BY compared_at DESC LIMIT 1";
        let from = from.map(Timestamptz::from);
        let select = async |client: &mut Object| {
            let statement = client.prepare_cached(SELECT).await?;
            let Some(row) = client.query_opt(&statement, &[&from]).await? else { return Ok(None) };
            let found = serde_json::from_str(cell(&row, 0)?).map_err(|error| corrupt(&error))?;
            Ok::<_, Fault>(Some(found))
        };
        Ok(self.database().await?.run(select).await?)
    }
}

fn head(row: &Row) -> Result<ReconciliationHead, Fault> {
    Ok(ReconciliationHead {
        provider: cell(row, 0)?,
        from: time(row, 1)?,
        to: time(row, 2)?,
        compared_at: time(row, 3)?,
        differences_count: cell::<i64>(row, 4)?.cast_unsigned(),
        recorded_count: cell::<i64>(row, 5)?.cast_unsigned(),
    })
}
