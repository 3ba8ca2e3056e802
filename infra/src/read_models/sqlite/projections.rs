//! The log that the rows come from, checkpoints, and parked streams.

use async_trait::async_trait;
use domain::{EventId, StreamName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::{
    SqliteQueries,
    values::{position, revision, signed_position, time, unreadable},
};
use crate::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    read_models::{
        BindError, Changes, CheckpointRow, Generation, ParkedStream, Projection, ProjectionQueries,
        ReadModelError,
        audit::{LogPositions, RebuiltFrom, one_per_partition},
    },
};

pub(super) const SCHEMA: &str = include_str!("projections.sql");

pub(super) fn bind(connection: &Connection, store_id: Uuid) -> Result<(), BindError> {
    const BIND: &str = "UPDATE log SET store_id = ?1 WHERE store_id IS NULL";
    connection.execute(BIND, [store_id]).map_err(ReadModelError::from)?;
    let bound: Uuid = connection
        .query_row("SELECT store_id FROM log", [], |row| row.get(0))
        .map_err(ReadModelError::from)?;
    if bound == store_id { Ok(()) } else { Err(BindError::OtherLog { bound, given: store_id }) }
}

pub(super) fn generation(connection: &Connection) -> Result<Generation, ReadModelError> {
    let mut select = connection.prepare_cached("SELECT generation FROM log")?;
    Ok(select.query_row([], |row| row.get(0).map(Generation))?)
}

pub(super) fn checkpoint(
    connection: &Connection,
    partition: &Partition,
) -> Result<Option<Reached>, ReadModelError> {
    // All projections of a partition move together, so one of them stands for all. Commits check each.
    const SELECT: &str =
        "SELECT position, last_event FROM checkpoints WHERE projection = ?1 AND partition = ?2";
    let projection = Projection::fed_by(partition)[0];
    let reached = |row: &Row<'_>| {
        let (position, last_event) = (position(row, 0)?, mark(row, 1)?);
        Ok(position.map(|position| Reached { position, last_event }))
    };
    let row = connection
        .prepare_cached(SELECT)?
        .query_row(params![projection.as_str(), partition.0], reached)
        .optional()?;
    Ok(row.flatten())
}

fn mark(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<EventMark>> {
    let stored: Option<String> = row.get(column)?;
    Ok(stored.as_deref().and_then(EventMark::from_json))
}

/// Moves the checkpoints and settles parked streams. The first error ends the transaction.
pub(super) fn write(transaction: &Transaction<'_>, changes: &Changes) -> Result<(), ReadModelError> {
    if let Some(known) = changes.generation
        && known != generation(transaction)?
    {
        return Err(ReadModelError::CheckpointMoved);
    }
    move_checkpoints(transaction, changes)?;
    expect_skipped_parked(transaction, &changes.skipped)?;
    unpark(transaction, &changes.retried)?;
    park(transaction, &changes.parked)
}

fn move_checkpoints(transaction: &Transaction<'_>, changes: &Changes) -> Result<(), ReadModelError> {
    const BEGIN: &str = "INSERT INTO checkpoints
             (projection, partition, position, updated_at, log_position, last_event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (projection, partition) DO UPDATE SET position = ?3, updated_at = ?4,
             log_position = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN log_position ELSE ?5 END,
             last_event = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN last_event ELSE ?6 END
         WHERE position IS NULL";
    const MOVE: &str = "UPDATE checkpoints SET position = ?3, updated_at = ?4,
             log_position = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN log_position ELSE ?5 END,
             last_event = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN last_event ELSE ?6 END
         WHERE projection = ?1 AND partition = ?2 AND position = ?7";
    let now = Timestamp::now().as_microsecond();
    for progress in &changes.progress {
        let last_event = progress.last_event.as_ref();
        let (to, log_position) =
            (signed_position(progress.to), signed_position(last_event.map(|event| event.position)));
        let last_event = last_event.map(EventMark::to_json);
        for projection in progress.projections() {
            let (projection, partition) = (projection.as_str(), &progress.partition.0);
            let moved = match signed_position(progress.from) {
                None => {
                    let values = params![projection, partition, to, now, log_position, last_event];
                    transaction.prepare_cached(BEGIN)?.execute(values)?
                }
                Some(from) => {
                    let values = params![projection, partition, to, now, log_position, last_event, from];
                    transaction.prepare_cached(MOVE)?.execute(values)?
                }
            };
            if moved == 0 {
                return Err(ReadModelError::CheckpointMoved);
            }
        }
    }
    Ok(())
}

fn expect_skipped_parked(
    transaction: &Transaction<'_>,
    skipped: &[(Projection, StreamName)],
) -> Result<(), ReadModelError> {
    const IS_PARKED: &str = "SELECT EXISTS (SELECT 1 FROM parked WHERE projection = ?1 AND stream = ?2)";
    for (projection, stream) in skipped {
        let key = params![projection.as_str(), stream.to_string()];
        let is_parked: bool = transaction.prepare_cached(IS_PARKED)?.query_row(key, |row| row.get(0))?;
        if !is_parked {
            return Err(ReadModelError::CheckpointMoved);
        }
    }
    Ok(())
}

fn unpark(transaction: &Transaction<'_>, retried: &[ParkedStream]) -> Result<(), ReadModelError> {
    const UNPARK: &str = "DELETE FROM parked
         WHERE projection = ?1 AND stream = ?2 AND revision = ?3 AND parked_at = ?4 AND retry_requested = 1";
    for row in retried {
        let as_read = params![
            row.projection.as_str(),
            row.stream.to_string(),
            row.revision.cast_signed(),
            row.parked_at.as_microsecond(),
        ];
        if transaction.prepare_cached(UNPARK)?.execute(as_read)? == 0 {
            return Err(ReadModelError::CheckpointMoved);
        }
    }
    Ok(())
}

fn park(connection: &Connection, parked: &[ParkedStream]) -> Result<(), ReadModelError> {
    const PARK: &str = "INSERT OR REPLACE INTO parked
         (projection, stream, partition, event_id, revision, position, reason, parked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for row in parked {
        connection.prepare_cached(PARK)?.execute(params![
            row.projection.as_str(),
            row.stream.to_string(),
            row.partition.0,
            row.event_id.0,
            row.revision.cast_signed(),
            row.position.cast_signed(),
            row.reason,
            row.parked_at.as_microsecond(),
        ])?;
    }
    Ok(())
}

/// Writes the progress that rebuilt rows start with: the log, a checkpoint for each projection of a partition,
/// the parked streams.
pub(super) fn copy(connection: &Connection, progress: &RebuiltFrom) -> Result<(), ReadModelError> {
    const CHECKPOINT: &str =
        "INSERT INTO checkpoints (projection, partition, position, log_position, last_event, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.execute("UPDATE log SET store_id = ?1", [progress.store_id])?;
    let now = Timestamp::now().as_microsecond();
    let last_event = progress.last_event.as_ref();
    let log_position = signed_position(last_event.map(|event| event.position));
    let last_event = last_event.map(EventMark::to_json);
    for (partition, position) in &progress.partitions {
        let begin_at = signed_position(*position);
        for projection in Projection::fed_by(partition) {
            let values = params![projection.as_str(), partition.0, begin_at, log_position, last_event, now];
            connection.execute(CHECKPOINT, values)?;
        }
    }
    park(connection, &progress.parked)
}

pub(super) fn log_positions(connection: &Connection) -> Result<LogPositions, ReadModelError> {
    const SELECT: &str =
        "SELECT DISTINCT partition, position, log_position FROM checkpoints ORDER BY partition";
    let mut statement = connection.prepare(SELECT)?;
    let rows = statement.query_map([], |row| Ok((Partition(row.get(0)?), position(row, 2)?)))?;
    one_per_partition(rows.collect::<rusqlite::Result<_>>()?)
}

const PARKED_COLUMNS: &str = "projection, stream, partition, event_id, revision, position, reason, parked_at";

fn parked_row(row: &Row<'_>) -> rusqlite::Result<ParkedStream> {
    let name = row.get_ref(0)?.as_str()?;
    let projection = Projection::ALL.into_iter().find(|projection| projection.as_str() == name);
    let stream = row.get_ref(1)?.as_str()?;
    Ok(ParkedStream {
        projection: projection.ok_or_else(|| unreadable("projection", name))?,
        stream: stream.parse().map_err(|_| unreadable("stream", stream))?,
        partition: Partition(row.get(2)?),
        event_id: EventId(row.get(3)?),
        revision: revision(row, 4)?,
        position: row.get::<_, i64>(5)?.cast_unsigned(),
        reason: row.get(6)?,
        parked_at: time(row, 7)?,
    })
}

pub(super) fn parked(connection: &Connection) -> Result<Vec<ParkedStream>, ReadModelError> {
    parked_where(connection, "true")
}

pub(super) fn retry_requests(connection: &Connection) -> Result<Vec<ParkedStream>, ReadModelError> {
    parked_where(connection, "retry_requested = 1")
}

fn parked_where(connection: &Connection, condition: &str) -> Result<Vec<ParkedStream>, ReadModelError> {
    let sql = format!("SELECT {PARKED_COLUMNS} FROM parked WHERE {condition} ORDER BY projection, stream");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], parked_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn request_retry(connection: &Connection, stream: &StreamName) -> Result<bool, ReadModelError> {
    const REQUEST: &str = "UPDATE parked SET retry_requested = 1 WHERE stream = ?1";
    Ok(connection.execute(REQUEST, [stream.to_string()])? > 0)
}

#[async_trait]
impl ProjectionQueries for SqliteQueries {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        const SELECT: &str = "SELECT projection, partition, position, log_position, last_event, updated_at
             FROM checkpoints ORDER BY projection, partition";
        self.run(|connection| {
            let mut statement = connection.prepare_cached(SELECT)?;
            let rows = statement.query_map([], |row| {
                Ok(CheckpointRow {
                    projection: row.get(0)?,
                    partition: Partition(row.get(1)?),
                    position: position(row, 2)?,
                    log_position: position(row, 3)?,
                    last_event: mark(row, 4)?,
                    updated_at: Some(time(row, 5)?),
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.run(parked).await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM parked WHERE stream = ?1)";
        let name = stream.to_string();
        self.run(move |connection| {
            Ok(connection.prepare_cached(SELECT)?.query_row([name], |row| row.get(0))?)
        })
        .await
    }
}
