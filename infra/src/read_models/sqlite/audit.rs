//! Reads every row of a file in one read transaction, and checks search columns and index tables against the
//! rows.

use std::path::Path;

use rusqlite::{Connection, Row};
use tokio::sync::{mpsc, oneshot};

use super::{
    connections::open_reader,
    projections::{log_positions, parked},
    scan_encoded_rows, scan_rows,
};
use crate::read_models::{
    Projection, ReadModelError, StoredRow,
    audit::{Progress, Request, RowSender, Stored},
};

/// An order may have a megabyte.
const ROWS_PER_CHUNK: usize = 100;

pub(super) async fn stored(path: &Path) -> Result<Stored, ReadModelError> {
    let path = path.to_owned();
    let (begun, progress) = oneshot::channel();
    let (scans, requests) = mpsc::channel(1);
    // Ends when the sender of requests is dropped.
    drop(tokio::task::spawn_blocking(move || read(&path, begun, requests)));
    let ended = |_| ReadModelError::Unavailable("reading all rows has failed".into());
    let (log_positions, parked) = progress.await.map_err(ended)??;
    Ok(Stored { log_positions, parked, scans })
}

/// Reads all rows once for each request, in one transaction.
fn read(
    path: &Path,
    begun: oneshot::Sender<Result<Progress, ReadModelError>>,
    mut requests: mpsc::Receiver<Request>,
) {
    let opened = open_reader(path).map_err(ReadModelError::from).and_then(|connection| {
        connection.execute_batch("BEGIN")?;
        let progress = (log_positions(&connection)?, parked(&connection)?);
        Ok((connection, progress))
    });
    // Sending fails only if the caller has stopped waiting; no request comes then.
    let connection = match opened {
        Ok((connection, progress)) => {
            let _ = begun.send(Ok(progress));
            connection
        }
        Err(error) => {
            let _ = begun.send(Err(error));
            return;
        }
    };
    while let Some(request) = requests.blocking_recv() {
        match request {
            Request::Decoded(chunks) => send_all(chunks, |sink| scan_rows(&connection, sink)),
            Request::Encoded(chunks) => send_all(chunks, |sink| scan_encoded_rows(&connection, sink)),
        }
    }
}

fn send_all<R>(chunks: RowSender<R>, scan: impl FnOnce(&mut Sink<R>) -> Result<(), Stop>) {
    let mut sink = Sink { chunk: Vec::new(), chunks };
    let scanned = scan(&mut sink).and_then(|()| sink.flush());
    if let Err(Stop::Failed(error)) = scanned {
        let _ = sink.chunks.blocking_send(Err(error));
    }
}

/// Why a scan ends early.
pub(super) enum Stop {
    ReceiverDropped,
    Failed(ReadModelError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Sends rows in chunks.
pub(super) struct Sink<R> {
    chunk: Vec<R>,
    chunks: RowSender<R>,
}

impl<R> Sink<R> {
    pub(super) fn push(&mut self, row: impl Into<R>) -> Result<(), Stop> {
        self.chunk.push(row.into());
        if self.chunk.len() < ROWS_PER_CHUNK { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| Stop::ReceiverDropped)
    }
}

/// Calls `take` with every row. An unreadable row is reported under its first column, and the scan continues.
pub(super) fn each<R: From<StoredRow>, T>(
    connection: &Connection,
    sink: &mut Sink<R>,
    sql: &str,
    projection: Projection,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    mut take: impl FnMut(&mut Sink<R>, T) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(value) => take(sink, value)?,
            Err(error) => {
                let key = format!("{:?}", row.get_ref(0)?);
                sink.push(StoredRow::broken(projection, key, error.to_string()))?;
            }
        }
    }
    Ok(())
}
