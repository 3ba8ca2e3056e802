//! The log that the rows come from, checkpoints, and parked streams.

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{EventId, StreamName};
use postgres_types::{FromSql, ToSql};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    PostgresQueries, SCHEMA_VERSION,
    values::{all, cell, position, revision, signed_position, time, unreadable},
};
use crate::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    postgres::{Fault, Timestamptz},
    read_models::{
        BindError, Changes, CheckpointRow, Generation, ParkedStream, Progress, Projection, ProjectionQueries,
        ReadModelError,
        audit::{LogPositions, RebuiltFrom, one_per_partition},
    },
};

pub(super) const SCHEMA: &str = include_str!("projections.sql");

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "projection", rename_all = "snake_case")]
enum PgProjection {
    Stock,
    Orders,
    Payments,
    Sales,
}

impl From<Projection> for PgProjection {
    fn from(projection: Projection) -> Self {
        match projection {
            Projection::Stock => Self::Stock,
            Projection::Orders => Self::Orders,
            Projection::Payments => Self::Payments,
            Projection::Sales => Self::Sales,
        }
    }
}

impl From<PgProjection> for Projection {
    fn from(projection: PgProjection) -> Self {
        match projection {
            PgProjection::Stock => Self::Stock,
            PgProjection::Orders => Self::Orders,
            PgProjection::Payments => Self::Payments,
            PgProjection::Sales => Self::Sales,
        }
    }
}

pub(super) async fn bind(client: &Object, store_id: Uuid) -> Result<(), BindError> {
    const BIND: &str = "UPDATE log SET store_id = $1 WHERE store_id IS NULL";
    client.execute(BIND, &[&store_id]).await.map_err(Fault::from)?;
    let row = client.query_one("SELECT store_id FROM log", &[]).await.map_err(Fault::from)?;
    let bound: Uuid = cell(&row, 0)?;
    if bound == store_id { Ok(()) } else { Err(BindError::OtherLog { bound, given: store_id }) }
}

/// The log that the rows come from. `None` before a projector has written rows.
pub(super) async fn bound_log(client: &Object) -> Result<Option<Uuid>, Fault> {
    Ok(client.query_one("SELECT store_id FROM log", &[]).await?.try_get(0)?)
}

pub(super) async fn generation(client: &Object) -> Result<Generation, ReadModelError> {
    let statement = client.prepare_cached("SELECT generation, schema_version FROM log").await?;
    let row = client.query_one(&statement, &[]).await?;
    // A newer program may have rebuilt the rows while this one runs.
    match cell::<i32>(&row, 1)? {
        SCHEMA_VERSION => Ok(Generation(cell(&row, 0)?)),
        found => {
            let text = format!("they have schema version {found}, and this program needs {SCHEMA_VERSION}");
            Err(ReadModelError::Corrupt(text.into()))
        }
    }
}

pub(super) async fn checkpoint(
    client: &Object,
    partition: &Partition,
) -> Result<Option<Reached>, ReadModelError> {
    // All projections of a partition move together, so any of them stands for all. Commits check each.
    const SELECT: &str = "SELECT position, last_event FROM checkpoints WHERE partition = $1 LIMIT 1";
    let statement = client.prepare_cached(SELECT).await?;
    let Some(row) = client.query_opt(&statement, &[&partition.0]).await? else { return Ok(None) };
    let last_event = mark(&row, 1)?;
    Ok(position(&row, 0)?.map(|position| Reached { position, last_event }))
}

fn mark(row: &Row, column: usize) -> Result<Option<EventMark>, ReadModelError> {
    Ok(cell::<Option<&str>>(row, column)?.and_then(EventMark::from_json))
}

/// greatest() ignores NULL.
const BEGIN: &str =
    "INSERT INTO checkpoints (projection, partition, position, log_position, last_event, updated_at)
     SELECT projection, partition, position, log_position, last_event, now()
     FROM unnest($1::projection[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
         AS begun (projection, partition, position, log_position, last_event)
     WHERE $6::bigint IS NULL OR $6 = (SELECT generation FROM log)
     ON CONFLICT (projection, partition) DO UPDATE SET position = excluded.position,
         log_position = greatest(checkpoints.log_position, excluded.log_position),
         last_event = CASE WHEN excluded.log_position IS NULL OR excluded.log_position < checkpoints.log_position
             THEN checkpoints.last_event ELSE excluded.last_event END,
         updated_at = now()
     WHERE checkpoints.position IS NULL";
const MOVE: &str = "UPDATE checkpoints
     SET position = moved.position, log_position = greatest(checkpoints.log_position, moved.log_position),
         last_event = CASE WHEN moved.log_position IS NULL OR moved.log_position < checkpoints.log_position
             THEN checkpoints.last_event ELSE moved.last_event END,
         updated_at = now()
     FROM unnest($1::projection[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $7::bigint[])
         AS moved (projection, partition, position, log_position, last_event, expected)
     WHERE ($6::bigint IS NULL OR $6 = (SELECT generation FROM log))
     AND checkpoints.projection = moved.projection AND checkpoints.partition = moved.partition
     AND checkpoints.position = moved.expected";
const COUNT_PARKED: &str = "SELECT count(*) FROM parked
     JOIN unnest($1::projection[], $2::text[]) AS wanted (projection, stream) USING (projection, stream)";
const UNPARK: &str = "DELETE FROM parked
     USING unnest($1::projection[], $2::text[], $3::bigint[], $4::timestamptz[])
         AS retried (projection, stream, revision, parked_at)
     WHERE parked.projection = retried.projection AND parked.stream = retried.stream
     AND parked.revision = retried.revision AND parked.parked_at = retried.parked_at
     AND parked.retry_requested";
const PARK: &str = "INSERT INTO parked
         (projection, stream, partition, event_id, revision, position, reason, parked_at)
     SELECT * FROM unnest($1::projection[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[],
         $7::text[], $8::timestamptz[])
     ON CONFLICT (projection, stream) DO UPDATE SET partition = excluded.partition,
         event_id = excluded.event_id, revision = excluded.revision, position = excluded.position,
         reason = excluded.reason, parked_at = excluded.parked_at, retry_requested = false";

/// Moves the checkpoints and settles parked streams. See [`super::write`] for why statements are prepared
/// first.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    begin: Statement,
    move_on: Statement,
    count_parked: Statement,
    unpark: Statement,
    park: Statement,
}

impl<'t> Writer<'t> {
    pub(super) async fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ReadModelError> {
        Ok(Self {
            transaction,
            begin: transaction.prepare_cached(BEGIN).await?,
            move_on: transaction.prepare_cached(MOVE).await?,
            count_parked: transaction.prepare_cached(COUNT_PARKED).await?,
            unpark: transaction.prepare_cached(UNPARK).await?,
            park: transaction.prepare_cached(PARK).await?,
        })
    }

    pub(super) async fn write(&self, changes: &Changes) -> Result<(), ReadModelError> {
        tokio::try_join!(
            biased;
            self.move_checkpoints(changes),
            self.expect_skipped_parked(&changes.skipped),
            self.unpark(&changes.retried),
            self.park(&changes.parked),
        )?;
        Ok(())
    }

    async fn move_checkpoints(&self, changes: &Changes) -> Result<(), ReadModelError> {
        let generation = changes.generation.map(|generation| generation.0);
        let (moved, begun): (Vec<&Progress>, Vec<&Progress>) =
            changes.progress.iter().partition(|progress| progress.from.is_some());
        tokio::try_join!(
            biased;
            self.move_on(&moved, generation),
            self.begin(&begun, generation),
        )?;
        Ok(())
    }

    async fn begin(&self, begun: &[&Progress], generation: Option<i64>) -> Result<(), ReadModelError> {
        if begun.is_empty() {
            return Ok(());
        }
        let columns = CheckpointColumns::of(begun);
        let values = [&columns.values()[..], &[&generation]].concat();
        expect(self.transaction.execute(&self.begin, &values).await?, columns.projections.len())
    }

    async fn move_on(&self, moved: &[&Progress], generation: Option<i64>) -> Result<(), ReadModelError> {
        if moved.is_empty() {
            return Ok(());
        }
        let columns = CheckpointColumns::of(moved);
        let values = [&columns.values()[..], &[&generation, &columns.from]].concat();
        expect(self.transaction.execute(&self.move_on, &values).await?, columns.projections.len())
    }

    async fn expect_skipped_parked(
        &self,
        skipped: &[(Projection, StreamName)],
    ) -> Result<(), ReadModelError> {
        if skipped.is_empty() {
            return Ok(());
        }
        let projections: Vec<PgProjection> =
            skipped.iter().map(|(projection, _)| (*projection).into()).collect();
        let streams: Vec<String> = skipped.iter().map(|(_, stream)| stream.to_string()).collect();
        let row = self.transaction.query_one(&self.count_parked, &[&projections, &streams]).await?;
        expect(cell::<i64>(&row, 0)?.cast_unsigned(), skipped.len())
    }

    async fn unpark(&self, retried: &[ParkedStream]) -> Result<(), ReadModelError> {
        if retried.is_empty() {
            return Ok(());
        }
        let projections: Vec<PgProjection> = retried.iter().map(|row| row.projection.into()).collect();
        let streams: Vec<String> = retried.iter().map(|row| row.stream.to_string()).collect();
        let revisions: Vec<i64> = retried.iter().map(|row| row.revision.cast_signed()).collect();
        let times: Vec<Timestamptz> = retried.iter().map(|row| row.parked_at.into()).collect();
        let values: [&(dyn ToSql + Sync); 4] = [&projections, &streams, &revisions, &times];
        expect(self.transaction.execute(&self.unpark, &values).await?, retried.len())
    }

    async fn park(&self, parked: &[ParkedStream]) -> Result<(), ReadModelError> {
        if parked.is_empty() {
            return Ok(());
        }
        park(self.transaction.client(), &self.park, parked).await
    }
}

/// A value for each checkpoint.
#[derive(Default)]
struct CheckpointColumns<'a> {
    projections: Vec<PgProjection>,
    partitions: Vec<&'a str>,
    to: Vec<Option<i64>>,
    log_positions: Vec<Option<i64>>,
    last_events: Vec<Option<String>>,
    from: Vec<Option<i64>>,
}

impl<'a> CheckpointColumns<'a> {
    fn of(progress: &[&'a Progress]) -> Self {
        let mut columns = Self::default();
        for Progress { partition, from, to, last_event } in progress {
            for projection in Projection::fed_by(partition) {
                columns.projections.push((*projection).into());
                columns.partitions.push(&partition.0);
                columns.to.push(signed_position(*to));
                columns.log_positions.push(signed_position(last_event.as_ref().map(|event| event.position)));
                columns.last_events.push(last_event.as_ref().map(EventMark::to_json));
                columns.from.push(signed_position(*from));
            }
        }
        columns
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.projections, &self.partitions, &self.to, &self.log_positions, &self.last_events]
    }
}

/// Refuses the commit unless its statement found every expected row.
fn expect(found: u64, expected: usize) -> Result<(), ReadModelError> {
    if found == expected as u64 { Ok(()) } else { Err(ReadModelError::CheckpointMoved) }
}

async fn park(client: &Client, statement: &Statement, rows: &[ParkedStream]) -> Result<(), ReadModelError> {
    let projections: Vec<PgProjection> = rows.iter().map(|row| row.projection.into()).collect();
    let streams: Vec<String> = rows.iter().map(|row| row.stream.to_string()).collect();
    let partitions: Vec<&str> = rows.iter().map(|row| row.partition.0.as_str()).collect();
    let events: Vec<Uuid> = rows.iter().map(|row| row.event_id.0).collect();
    let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
    let positions: Vec<i64> = rows.iter().map(|row| row.position.cast_signed()).collect();
    let reasons: Vec<&str> = rows.iter().map(|row| row.reason.as_str()).collect();
    let times: Vec<Timestamptz> = rows.iter().map(|row| row.parked_at.into()).collect();
    let values: [&(dyn ToSql + Sync); 8] =
        [&projections, &streams, &partitions, &events, &revisions, &positions, &reasons, &times];
    client.execute(statement, &values).await?;
    Ok(())
}

/// Writes the progress that rebuilt rows start with: the log, a checkpoint for each projection of a partition,
/// the parked streams.
pub(super) async fn copy(client: &Client, progress: &RebuiltFrom) -> Result<(), ReadModelError> {
    const CHECKPOINTS: &str =
        "INSERT INTO checkpoints (projection, partition, position, log_position, last_event, updated_at)
         SELECT projection, $2, $3, $4, $5, now() FROM unnest($1::projection[]) AS projection";
    client.execute("UPDATE log SET store_id = $1", &[&progress.store_id]).await?;
    let begin = client.prepare(CHECKPOINTS).await?;
    let last_event = progress.last_event.as_ref();
    let log_position = signed_position(last_event.map(|event| event.position));
    let last_event = last_event.map(EventMark::to_json);
    for (partition, position) in &progress.partitions {
        let fed = Projection::fed_by(partition);
        let projections: Vec<PgProjection> = fed.iter().copied().map(PgProjection::from).collect();
        let begin_at = signed_position(*position);
        let values: [&(dyn ToSql + Sync); 5] =
            [&projections, &partition.0, &begin_at, &log_position, &last_event];
        client.execute(&begin, &values).await?;
    }
    park(client, &client.prepare(PARK).await?, &progress.parked).await
}

pub(super) async fn log_positions(
    view: &tokio_postgres::Transaction<'_>,
) -> Result<LogPositions, ReadModelError> {
    const SELECT: &str =
        "SELECT DISTINCT partition, position, log_position FROM checkpoints ORDER BY partition";
    let rows = view.query(SELECT, &[]).await?;
    let positions = rows.iter().map(|row| Ok((Partition(cell(row, 0)?), position(row, 2)?)));
    one_per_partition(positions.collect::<Result<_, ReadModelError>>()?)
}

const PARKED_COLUMNS: &str = "projection, stream, partition, event_id, revision, position, reason, parked_at";

fn parked_row(row: &Row) -> Result<ParkedStream, ReadModelError> {
    let stream: &str = cell(row, 1)?;
    Ok(ParkedStream {
        projection: cell::<PgProjection>(row, 0)?.into(),
        stream: stream.parse().map_err(|_| unreadable(format!("{stream:?} is not a stream")))?,
        partition: Partition(cell(row, 2)?),
        event_id: EventId(cell(row, 3)?),
        revision: revision(row, 4)?,
        position: cell::<i64>(row, 5)?.cast_unsigned(),
        reason: cell(row, 6)?,
        parked_at: time(row, 7)?,
    })
}

pub(super) async fn parked(client: &Object) -> Result<Vec<ParkedStream>, ReadModelError> {
    parked_where(client, "true").await
}

/// Every parked stream, as a transaction sees them.
pub(super) async fn parked_in(
    view: &tokio_postgres::Transaction<'_>,
) -> Result<Vec<ParkedStream>, ReadModelError> {
    let sql = format!("SELECT {PARKED_COLUMNS} FROM parked ORDER BY projection, stream");
    view.query(&sql, &[]).await?.iter().map(parked_row).collect()
}

pub(super) async fn retry_requests(client: &Object) -> Result<Vec<ParkedStream>, ReadModelError> {
    parked_where(client, "retry_requested").await
}

async fn parked_where(client: &Object, condition: &str) -> Result<Vec<ParkedStream>, ReadModelError> {
    let sql = format!("SELECT {PARKED_COLUMNS} FROM parked WHERE {condition} ORDER BY projection, stream");
    all(client, &sql, &[], parked_row).await
}

pub(super) async fn request_retry(client: &Object, stream: &StreamName) -> Result<bool, ReadModelError> {
    const REQUEST: &str = "UPDATE parked SET retry_requested = true WHERE stream = $1";
    Ok(client.execute(REQUEST, &[&stream.to_string()]).await? > 0)
}

fn checkpoint_row(row: &Row) -> Result<CheckpointRow, ReadModelError> {
    Ok(CheckpointRow {
        projection: Projection::from(cell::<PgProjection>(row, 0)?).to_string(),
        partition: Partition(cell(row, 1)?),
        position: position(row, 2)?,
        log_position: position(row, 3)?,
        last_event: mark(row, 4)?,
        updated_at: Some(time(row, 5)?),
    })
}

#[async_trait]
impl ProjectionQueries for PostgresQueries {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        const SELECT: &str = "SELECT projection, partition, position, log_position, last_event, updated_at
             FROM checkpoints ORDER BY projection, partition";
        self.database.run(async |client| all(client, SELECT, &[], checkpoint_row).await).await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| parked(client).await).await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        const SELECT: &str = "SELECT EXISTS (SELECT FROM parked WHERE stream = $1)";
        let find = async |client: &mut Object| {
            let statement = client.prepare_cached(SELECT).await?;
            cell(&client.query_one(&statement, &[&stream.to_string()]).await?, 0)
        };
        self.database.run(find).await
    }
}
