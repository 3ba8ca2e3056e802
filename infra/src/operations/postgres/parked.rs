//! Parked reactions in the Postgres database of the read models.

use async_trait::async_trait;
use deadpool_postgres::Object;
use domain::{EventId, Revision, StreamName, Timestamp};
use postgres_types::ToSql;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    PostgresOperations,
    webhooks::columns::{cell, corrupt, number, time},
};
use crate::{
    operations::{
        OperationsError,
        parked::{ParkedReaction, ParkedReactions, streams_with_id},
        webhooks::rules::sql_limit,
    },
    postgres::{Fault, Timestamptz},
};

const COLUMNS: &str = "stream, revision, event_id, event_type, last_revision, parked_at, attempts, reason, \
                       next_attempt_at, retry_requested";

#[async_trait]
impl ParkedReactions for PostgresOperations {
    async fn park(&self, store_id: Uuid, parked: &ParkedReaction) -> Result<(), OperationsError> {
        let insert = format!(
            "INSERT INTO parked_reactions AS old (store_id, {COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (store_id, stream) DO UPDATE SET
                 revision = least(old.revision, excluded.revision),
                 event_id = CASE WHEN excluded.revision < old.revision THEN excluded.event_id
                     ELSE old.event_id END,
                 event_type = CASE WHEN excluded.revision < old.revision THEN excluded.event_type
                     ELSE old.event_type END,
                 last_revision = greatest(old.last_revision, excluded.last_revision)"
        );
        let values: [&(dyn ToSql + Sync); 11] = [
            &store_id,
            &parked.stream.to_string(),
            &parked.revision.cast_signed(),
            &parked.event_id.0,
            &parked.event_type,
            &parked.last_revision.cast_signed(),
            &Timestamptz::from(parked.parked_at),
            &parked.attempts.cast_signed(),
            &parked.reason,
            &Timestamptz::from(parked.next_attempt_at),
            &parked.retry_requested,
        ];
        self.changed(&insert, &values).await.map(drop)
    }

    async fn add(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<bool, OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET last_revision = greatest(last_revision, $3)
             WHERE store_id = $1 AND stream = $2 AND revision <= $3";
        let values: [&(dyn ToSql + Sync); 3] = [&store_id, &stream.to_string(), &revision.cast_signed()];
        Ok(self.changed(UPDATE, &values).await? > 0)
    }

    async fn due(
        &self,
        store_id: Uuid,
        now: Timestamp,
        after: Option<(Timestamp, StreamName)>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions WHERE store_id = $1 AND next_attempt_at <= $2
                 AND (next_attempt_at, stream) > ($3, $4) ORDER BY next_attempt_at, stream LIMIT $5"
        );
        let begin = (Timestamptz::MIN, String::new());
        let (time, stream) = after.map_or(begin, |(time, stream)| (time.into(), stream.to_string()));
        let now = Timestamptz::from(now);
        self.entries(&select, &[&store_id, &now, &time, &stream, &sql_limit(limit)]).await
    }

    async fn postpone(&self, store_id: Uuid, failed: &ParkedReaction) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET revision = $3, event_id = $4, event_type = $5,
                 attempts = $6, reason = $7,
                 next_attempt_at = CASE WHEN retry_requested AND NOT $9 THEN next_attempt_at ELSE $8 END,
                 retry_requested = retry_requested AND NOT $9
             WHERE store_id = $1 AND stream = $2";
        let values: [&(dyn ToSql + Sync); 9] = [
            &store_id,
            &failed.stream.to_string(),
            &failed.revision.cast_signed(),
            &failed.event_id.0,
            &failed.event_type,
            &failed.attempts.cast_signed(),
            &failed.reason,
            &Timestamptz::from(failed.next_attempt_at),
            &failed.retry_requested,
        ];
        self.changed(UPDATE, &values).await.map(drop)
    }

    async fn resume(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        through: Revision,
    ) -> Result<Option<Revision>, OperationsError> {
        const DELETE: &str =
            "DELETE FROM parked_reactions WHERE store_id = $1 AND stream = $2 AND last_revision <= $3";
        const LAST: &str = "SELECT last_revision FROM parked_reactions WHERE store_id = $1 AND stream = $2";
        let stream = stream.to_string();
        self.changed(DELETE, &[&store_id, &stream, &through.cast_signed()]).await?;
        let last = async |client: &mut Object| {
            let statement = client.prepare_cached(LAST).await?;
            let row = client.query_opt(&statement, &[&store_id, &stream]).await?;
            row.map(|row| number(&row, 0)).transpose()
        };
        Ok(self.database().await?.run(last).await?)
    }

    async fn list(
        &self,
        store_id: Uuid,
        after: Option<StreamName>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions WHERE store_id = $1 AND stream > $2 ORDER BY stream LIMIT $3"
        );
        let after = after.map(|stream| stream.to_string()).unwrap_or_default();
        self.entries(&select, &[&store_id, &after, &sql_limit(limit)]).await
    }

    async fn find(&self, store_id: Uuid, id: Uuid) -> Result<Option<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions
             WHERE store_id = $1 AND (stream = ANY($2) OR event_id = $3) ORDER BY stream LIMIT 1"
        );
        let streams = streams_with_id(id).map(|stream| stream.to_string()).to_vec();
        Ok(self.entries(&select, &[&store_id, &streams, &id]).await?.pop())
    }

    async fn request_retry(
        &self,
        store_id: Uuid,
        stream: Option<&StreamName>,
        now: Timestamp,
    ) -> Result<u64, OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET next_attempt_at = $3, retry_requested = true
             WHERE store_id = $1 AND ($2::text IS NULL OR stream = $2)";
        let stream = stream.map(ToString::to_string);
        self.changed(UPDATE, &[&store_id, &stream, &Timestamptz::from(now)]).await
    }

    async fn count(&self, store_id: Uuid) -> Result<u64, OperationsError> {
        const COUNT: &str = "SELECT count(*) FROM parked_reactions WHERE store_id = $1";
        let count = async |client: &mut Object| {
            let statement = client.prepare_cached(COUNT).await?;
            number(&client.query_one(&statement, &[&store_id]).await?, 0)
        };
        Ok(self.database().await?.run(count).await?)
    }
}

impl PostgresOperations {
    /// Runs a statement; returns the number of rows that it changed.
    async fn changed(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, OperationsError> {
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, values).await.map_err(Fault::from)
        };
        Ok(self.database().await?.run(work).await?)
    }

    async fn entries(
        &self,
        select: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let work = async |client: &mut Object| {
            let statement = client.prepare_cached(select).await?;
            let rows = client.query(&statement, values).await?;
            let entries = rows.iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
            Ok::<_, Fault>(entries.into_iter().flatten().collect())
        };
        Ok(self.database().await?.run(work).await?)
    }
}

/// None for a kind of stream that only a newer version knows.
fn entry(row: &Row) -> Result<Option<ParkedReaction>, Fault> {
    let Ok(stream) = cell::<String>(row, 0)?.parse() else { return Ok(None) };
    let attempts: i32 = cell(row, 6)?;
    Ok(Some(ParkedReaction {
        stream,
        revision: number(row, 1)?,
        event_id: EventId(cell(row, 2)?),
        event_type: cell(row, 3)?,
        last_revision: number(row, 4)?,
        parked_at: time(row, 5)?,
        attempts: u32::try_from(attempts).map_err(|error| corrupt(&error))?,
        reason: cell(row, 7)?,
        next_attempt_at: time(row, 8)?,
        retry_requested: cell(row, 9)?,
    }))
}
