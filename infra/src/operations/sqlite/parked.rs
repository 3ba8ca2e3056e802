//! Parked reactions in the SQLite file of the operational state.

use async_trait::async_trait;
use domain::{EventId, Revision, StreamName, Timestamp};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{SqliteOperations, webhooks::columns::time};
use crate::operations::{
    OperationsError,
    parked::{ParkedReaction, ParkedReactions, streams_with_id},
    webhooks::rules::sql_limit,
};

const COLUMNS: &str = "stream, revision, event_id, event_type, last_revision, parked_at, attempts, reason, \
                       next_attempt_at, retry_requested";

#[async_trait]
impl ParkedReactions for SqliteOperations {
    async fn park(&self, store_id: Uuid, parked: &ParkedReaction) -> Result<(), OperationsError> {
        let insert = format!(
            "INSERT INTO parked_reactions (store_id, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (store_id, stream) DO UPDATE SET
                 revision = min(revision, excluded.revision),
                 event_id = iif(excluded.revision < revision, excluded.event_id, event_id),
                 event_type = iif(excluded.revision < revision, excluded.event_type, event_type),
                 last_revision = max(last_revision, excluded.last_revision)"
        );
        let parked = parked.clone();
        self.with(move |connection| {
            connection.prepare_cached(&insert)?.execute(params![
                store_id,
                parked.stream.to_string(),
                parked.revision.cast_signed(),
                parked.event_id.0,
                parked.event_type,
                parked.last_revision.cast_signed(),
                parked.parked_at.as_microsecond(),
                parked.attempts,
                parked.reason,
                parked.next_attempt_at.as_microsecond(),
                parked.retry_requested,
            ])
        })
        .await
        .map(drop)
    }

    async fn add(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<bool, OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET last_revision = max(last_revision, ?3)
             WHERE store_id = ?1 AND stream = ?2 AND revision <= ?3";
        let stream = stream.to_string();
        self.with(move |connection| {
            let values = params![store_id, stream, revision.cast_signed()];
            Ok(connection.prepare_cached(UPDATE)?.execute(values)? > 0)
        })
        .await
    }

    async fn due(
        &self,
        store_id: Uuid,
        now: Timestamp,
        after: Option<(Timestamp, StreamName)>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions WHERE store_id = ?1 AND next_attempt_at <= ?2
                 AND (next_attempt_at, stream) > (?3, ?4) ORDER BY next_attempt_at, stream LIMIT ?5"
        );
        let (time, stream) = after
            .map_or((i64::MIN, String::new()), |(time, stream)| (time.as_microsecond(), stream.to_string()));
        self.entries(select, (store_id, now.as_microsecond(), time, stream, sql_limit(limit))).await
    }

    async fn postpone(&self, store_id: Uuid, failed: &ParkedReaction) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET revision = ?3, event_id = ?4, event_type = ?5,
                 attempts = ?6, reason = ?7,
                 next_attempt_at = iif(retry_requested AND NOT ?9, next_attempt_at, ?8),
                 retry_requested = retry_requested AND NOT ?9
             WHERE store_id = ?1 AND stream = ?2";
        let failed = failed.clone();
        self.with(move |connection| {
            connection.prepare_cached(UPDATE)?.execute(params![
                store_id,
                failed.stream.to_string(),
                failed.revision.cast_signed(),
                failed.event_id.0,
                failed.event_type,
                failed.attempts,
                failed.reason,
                failed.next_attempt_at.as_microsecond(),
                failed.retry_requested,
            ])
        })
        .await
        .map(drop)
    }

    async fn resume(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        through: Revision,
    ) -> Result<Option<Revision>, OperationsError> {
        const DELETE: &str =
            "DELETE FROM parked_reactions WHERE store_id = ?1 AND stream = ?2 AND last_revision <= ?3";
        const LAST: &str = "SELECT last_revision FROM parked_reactions WHERE store_id = ?1 AND stream = ?2";
        let stream = stream.to_string();
        self.with(move |connection| {
            let values = params![store_id, stream, through.cast_signed()];
            connection.prepare_cached(DELETE)?.execute(values)?;
            let mut last = connection.prepare_cached(LAST)?;
            let last = last.query_row(params![store_id, stream], |row| row.get::<_, i64>(0)).optional()?;
            Ok(last.map(i64::cast_unsigned))
        })
        .await
    }

    async fn list(
        &self,
        store_id: Uuid,
        after: Option<StreamName>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions WHERE store_id = ?1 AND stream > ?2 ORDER BY stream LIMIT ?3"
        );
        let after = after.map(|stream| stream.to_string()).unwrap_or_default();
        self.entries(select, (store_id, after, sql_limit(limit))).await
    }

    async fn find(&self, store_id: Uuid, id: Uuid) -> Result<Option<ParkedReaction>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM parked_reactions
             WHERE store_id = ?1 AND (stream IN (?2, ?3, ?4, ?5) OR event_id = ?6) ORDER BY stream LIMIT 1"
        );
        let [order, payment, receipt, exchange] = streams_with_id(id).map(|stream| stream.to_string());
        Ok(self.entries(select, (store_id, order, payment, receipt, exchange, id)).await?.pop())
    }

    async fn request_retry(
        &self,
        store_id: Uuid,
        stream: Option<&StreamName>,
        now: Timestamp,
    ) -> Result<u64, OperationsError> {
        const UPDATE: &str = "UPDATE parked_reactions SET next_attempt_at = ?3, retry_requested = true
             WHERE store_id = ?1 AND (?2 IS NULL OR stream = ?2)";
        let stream = stream.map(ToString::to_string);
        self.with(move |connection| {
            connection.execute(UPDATE, params![store_id, stream, now.as_microsecond()])
        })
        .await
        .map(|changed| changed as u64)
    }

    async fn count(&self, store_id: Uuid) -> Result<u64, OperationsError> {
        const COUNT: &str = "SELECT count(*) FROM parked_reactions WHERE store_id = ?1";
        let counted = self.with(move |connection| {
            connection.prepare_cached(COUNT)?.query_row([store_id], |row| row.get::<_, i64>(0))
        });
        counted.await.map(i64::cast_unsigned)
    }
}

impl SqliteOperations {
    async fn entries(
        &self,
        select: String,
        values: impl rusqlite::Params + Send + 'static,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            let entries = statement.query_map(values, entry)?;
            Ok(entries.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
        .await
    }
}

/// None for a kind of stream that only a newer version knows.
fn entry(row: &Row<'_>) -> rusqlite::Result<Option<ParkedReaction>> {
    let Ok(stream) = row.get::<_, String>(0)?.parse() else { return Ok(None) };
    Ok(Some(ParkedReaction {
        stream,
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        event_id: EventId(row.get(2)?),
        event_type: row.get(3)?,
        last_revision: row.get::<_, i64>(4)?.cast_unsigned(),
        parked_at: time(row, 5)?,
        attempts: row.get(6)?,
        reason: row.get(7)?,
        next_attempt_at: time(row, 8)?,
        retry_requested: row.get(9)?,
    }))
}
