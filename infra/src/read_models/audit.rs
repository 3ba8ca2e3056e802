//! All rows at once: to compare them with the log, and to replace them by rows of a new fold.

use async_trait::async_trait;
use domain::Position;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    ParkedStream, ReadModelError, StoredRow,
    encoded::{EncodedRow, EncodedRows},
};
use crate::{event_source::Partition, event_store::EventMark};

/// For each partition, the position of the log up to which the rows reflect its events.
pub type LogPositions = Vec<(Partition, Option<Position>)>;

/// Chunks of rows, sent while an adapter reads them. Dropping it stops the reading.
pub type RowReceiver<R> = mpsc::Receiver<Result<Vec<R>, ReadModelError>>;
pub(super) type RowSender<R> = mpsc::Sender<Result<Vec<R>, ReadModelError>>;

/// Asks an adapter for every row.
#[derive(Debug)]
pub(super) enum Request {
    Decoded(RowSender<StoredRow>),
    Encoded(RowSender<EncodedRow>),
}

/// Chunks that an adapter reads ahead.
const CHUNKS_AHEAD: usize = 2;

/// Every row, as one transaction sees them. Dropping it ends the transaction.
#[derive(Debug)]
pub struct Stored {
    pub log_positions: LogPositions,
    pub parked: Vec<ParkedStream>,
    pub(super) scans: mpsc::Sender<Request>,
}

impl Stored {
    /// Reads and decodes every row, and checks search columns and index tables against the rows. The next call
    /// reads the same rows again.
    pub async fn rows(&self) -> Result<RowReceiver<StoredRow>, ReadModelError> {
        self.request(Request::Decoded).await
    }

    /// Reads every row as it is stored, search columns and index tables included.
    pub async fn encoded_rows(&self) -> Result<RowReceiver<EncodedRow>, ReadModelError> {
        self.request(Request::Encoded).await
    }

    async fn request<R>(
        &self,
        request: fn(RowSender<R>) -> Request,
    ) -> Result<RowReceiver<R>, ReadModelError> {
        let (sender, rows) = mpsc::channel(CHUNKS_AHEAD);
        let ended = |_| ReadModelError::Unavailable("the transaction that reads all rows has ended".into());
        self.scans.send(request(sender)).await.map_err(ended)?;
        Ok(rows)
    }
}

/// How far the rows are: what a reader learns before it reads rows.
pub(super) type Progress = (LogPositions, Vec<ParkedStream>);

/// Read models that can show every row.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    async fn stored(&self) -> Result<Stored, ReadModelError>;
}

/// Read models that can be replaced as a whole.
#[async_trait]
pub trait Rebuild: Send + Sync + 'static {
    /// Creates empty tables beside those in use.
    async fn begin(&self) -> Result<Box<dyn Staging>, ReadModelError>;
}

/// Tables that a rebuild fills. Dropping this deletes them.
#[async_trait]
pub trait Staging: Send {
    /// Adds rows, each key once. Rows of one kind come in the order in which they load fastest, over all calls:
    /// orders and payments as they were recorded, the index of orders by SKU in any order, all others by key.
    /// The sums of one sales key come in one call.
    async fn write(&mut self, rows: EncodedRows) -> Result<(), ReadModelError>;

    /// Writes the progress and the indexes.
    async fn finish(self: Box<Self>, progress: RebuiltFrom) -> Result<Box<dyn Staged>, ReadModelError>;
}

/// The log that rebuilt rows come from, and where projectors continue.
#[derive(Debug, Clone, Default)]
pub struct RebuiltFrom {
    /// Id of the event store that holds the log.
    pub store_id: Uuid,
    /// The last event that the rows reflect; `None` if the log is empty.
    pub last_event: Option<EventMark>,
    /// Where each partition of the source continues. Projectors skip events from there on that the rows already
    /// reflect, by their revision.
    pub partitions: Vec<(Partition, Option<Position>)>,
    pub parked: Vec<ParkedStream>,
}

/// Rows that are written but not in use yet. Dropping this deletes them.
#[async_trait]
pub trait Staged: Audit {
    /// Replaces the rows in use. Readers see all of the old rows or all of the new ones. A running projector
    /// gets [`ReadModelError::CheckpointMoved`] and continues from the position of the new rows.
    async fn publish(self: Box<Self>) -> Result<(), ReadModelError>;
}

/// Refuses rows whose projections stand at different positions in one partition: no single fold gives such
/// rows. `read` holds the distinct positions, sorted by partition.
pub(super) fn one_per_partition(read: LogPositions) -> Result<LogPositions, ReadModelError> {
    let Some(pair) = read.windows(2).find(|pair| pair[0].0 == pair[1].0) else { return Ok(read) };
    let text = format!("the projections of partition {} stand at different positions", pair[0].0.0);
    Err(ReadModelError::Corrupt(text.into()))
}
