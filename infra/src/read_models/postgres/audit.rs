//! Reads every row of a schema in one read transaction, and checks search columns and index tables against
//! the rows.

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, IsolationLevel, Portal, Row, Transaction};
use uuid::Uuid;

use super::{
    projections::{log_positions, parked_in},
    scan_encoded_rows, scan_rows,
};
use crate::{
    postgres::Database,
    read_models::{
        Projection, ReadModelError, StoredRow,
        audit::{Progress, Request, RowSender, Stored},
    },
};

/// An order may have a megabyte.
const ROWS_PER_CHUNK: i32 = 100;

pub(super) async fn stored(database: &Database, schema: &'static str) -> Result<Stored, ReadModelError> {
    let client = database.session().await?;
    let (begun, progress) = oneshot::channel();
    let (scans, requests) = mpsc::channel(1);
    // Ends when the sender of requests is dropped.
    tokio::spawn(read(client, schema, begun, requests));
    let ended = |_| ReadModelError::Unavailable("reading all rows has failed".into());
    let (log_positions, parked) = progress.await.map_err(ended)??;
    Ok(Stored { log_positions, parked, scans })
}

/// Why a scan ends early.
pub(super) enum Stop {
    ReceiverDropped,
    Failed(ReadModelError),
}

impl From<ReadModelError> for Stop {
    fn from(error: ReadModelError) -> Self {
        Self::Failed(error)
    }
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads all rows once for each request, in one transaction.
async fn read(
    mut client: Client,
    schema: &str,
    begun: oneshot::Sender<Result<Progress, ReadModelError>>,
    mut requests: mpsc::Receiver<Request>,
) {
    // Sending fails only if the caller has stopped waiting; no request comes then.
    let view = match begin(&mut client, schema).await {
        Ok((view, progress)) => {
            let _ = begun.send(Ok(progress));
            view
        }
        Err(error) => {
            let _ = begun.send(Err(error));
            return;
        }
    };
    while let Some(request) = requests.recv().await {
        match request {
            Request::Decoded(chunks) => {
                let scan = Scan { view: &view, chunks };
                scan.end(scan_rows(&scan).await).await;
            }
            Request::Encoded(chunks) => {
                let scan = Scan { view: &view, chunks };
                scan.end(scan_encoded_rows(&scan).await).await;
            }
        }
    }
}

async fn begin<'c>(
    client: &'c mut Client,
    schema: &str,
) -> Result<(Transaction<'c>, Progress), ReadModelError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let view = snapshot.start().await?;
    view.batch_execute(&format!("SET LOCAL search_path = {schema}, orderly")).await?;
    // Locks out a rebuild that would publish between two of the queries.
    view.query_one("SELECT generation FROM log", &[]).await?;
    let progress = (log_positions(&view).await?, parked_in(&view).await?);
    Ok((view, progress))
}

/// Reads tables in one transaction and sends their rows in chunks.
pub(super) struct Scan<'a, R> {
    pub(super) view: &'a Transaction<'a>,
    chunks: RowSender<R>,
}

impl<R: From<StoredRow>> Scan<'_, R> {
    /// Reads a query's rows in chunks, and sends what `take` pushes for each. An unreadable row is reported
    /// under its first column, and the scan continues.
    pub(super) async fn each<T>(
        &self,
        sql: &str,
        projection: Projection,
        read: fn(&Row) -> Result<T, ReadModelError>,
        mut take: impl FnMut(T, &mut Vec<R>),
    ) -> Result<(), Stop> {
        let mut chunks = self.chunks(sql).await?;
        while let Some(rows) = self.next_chunk(&mut chunks).await? {
            let mut chunk = Vec::with_capacity(rows.len());
            for row in &rows {
                match read(row) {
                    Ok(value) => take(value, &mut chunk),
                    Err(error) => {
                        chunk.push(StoredRow::broken(projection, key_of(row), error.to_string()).into());
                    }
                }
            }
            self.send(chunk).await?;
        }
        Ok(())
    }

    pub(super) async fn chunks(&self, sql: &str) -> Result<Portal, Stop> {
        Ok(self.view.bind(sql, &[]).await?)
    }

    /// `None` after the last row.
    pub(super) async fn next_chunk(&self, chunks: &mut Portal) -> Result<Option<Vec<Row>>, Stop> {
        let rows = self.view.query_portal(chunks, ROWS_PER_CHUNK).await?;
        Ok((!rows.is_empty()).then_some(rows))
    }

    pub(super) async fn send(&self, chunk: Vec<R>) -> Result<(), Stop> {
        self.chunks.send(Ok(chunk)).await.map_err(|_| Stop::ReceiverDropped)
    }

    async fn end(&self, scanned: Result<(), Stop>) {
        if let Err(Stop::Failed(error)) = scanned {
            let _ = self.chunks.send(Err(error)).await;
        }
    }
}

/// The first column of a row, which names it.
pub(super) fn key_of(row: &Row) -> String {
    let text = row.try_get::<_, String>(0).ok();
    text.or_else(|| row.try_get::<_, Uuid>(0).ok().map(|id| id.to_string())).unwrap_or_default()
}
