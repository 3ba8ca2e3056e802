//! Rebuilds all read models from the log, and replaces the rows in use.

use std::{io, sync::Arc};

use domain::{Position, Timestamp};
use infra::{
    event_source::layout::SourceLayout,
    event_store::{EventLog, ReadError},
    external_sort::{Sorted, Sorter},
    read_models::{
        OrderRow, OrderStockEvent, ParkedStream, PaymentRow, ReadModelError, ReservationRow, Rows, StockRow,
        StoredRow,
        audit::{Rebuild, RebuiltFrom, Staging},
    },
};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::{
    digest::{Digest, content, expected_rows},
    replay::{ReadProgress, Replay, ReplayError, Workspace},
    verify::{Verification, VerifyError, blocking, compare},
};

/// The step that a rebuild has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildStep {
    Reading(ReadProgress),
    Folding,
    Writing,
    Verifying,
    Publishing,
}

/// The result of a rebuild.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt {
    pub position: Option<Position>,
    /// Rows in all read models.
    pub rows: u64,
    /// Parked streams, which have events that cannot be applied.
    pub parked: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The rows in use were not replaced.
    #[error("{} rebuilt rows differ from the log; the rows in use were not replaced", .0.differences)]
    Differs(Box<Verification>),
}

/// Stored bytes of the rows that are written at a time.
const WRITTEN_BYTES: usize = 4 << 20;

/// Folds the log to its end, writes the rows, reads them back and compares, and publishes them if they are
/// equal. Projectors continue from where the partitions ended when the rebuild began. They skip, by revision,
/// events that the new rows already reflect.
pub async fn rebuild(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    target: &dyn Rebuild,
    workspace: &Workspace,
    progress: &(dyn Fn(RebuildStep) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    // Read before the log: an event that is in a partition now is in the log, so it will be in the rows.
    let ends = layout.last_positions().await?;
    let partitions: Vec<_> = layout.partitions().into_iter().zip(ends).collect();
    let staging = target.begin().await?;
    let reading = |at| progress(RebuildStep::Reading(at));
    let replay = Replay::read(log, layout, None, Vec::new(), workspace, &reading).await?;
    let last_event = replay.last_event.clone();
    let position = last_event.as_ref().map(|event| event.position);
    progress(RebuildStep::Folding);
    let Folded { replay, digest, sorted, mut staging, parked } = fold(replay, staging, workspace).await?;
    progress(RebuildStep::Writing);
    sorted.write(staging.as_mut(), workspace).await?;
    let parked_count = parked.len();
    let from = RebuiltFrom { store_id: log.store_id(), last_event, partitions, parked };
    let staged = staging.finish(from).await?;
    progress(RebuildStep::Verifying);
    let stored = staged.stored().await?;
    let found = compare(replay, digest, &stored, workspace).await?;
    drop(stored);
    if found.differences > 0 {
        return Err(RebuildError::Differs(Box::new(found)));
    }
    progress(RebuildStep::Publishing);
    staged.publish().await?;
    Ok(Rebuilt { position, rows: found.rows, parked: parked_count })
}

struct Folded {
    replay: Replay,
    digest: Digest,
    sorted: SortedRows,
    staging: Box<dyn Staging>,
    parked: Vec<ParkedStream>,
}

/// Why a fold into a workspace has stopped.
enum Stop {
    Workspace(io::Error),
    ReadModels(ReadModelError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Workspace(error)
    }
}

/// Folds all streams. Sorts the rows, and writes the sums of sales, which come sorted.
async fn fold(
    mut replay: Replay,
    mut staging: Box<dyn Staging>,
    workspace: &Workspace,
) -> Result<Folded, RebuildError> {
    let mut rows_by_kind = RowSorters::new(workspace);
    let runtime = Handle::current();
    let folding = move || {
        let mut digest = Digest::new();
        let folded = replay.fold::<Stop>(|mut rows| {
            let sales = std::mem::take(&mut rows.sales);
            if !sales.is_empty() {
                let written = Rows { sales: sales.clone(), ..Rows::default() };
                runtime.block_on(staging.write(written)).map_err(Stop::ReadModels)?;
            }
            for row in expected_rows(Rows { sales, ..rows }) {
                let content = content(&row);
                digest.expect(&row, &content);
                rows_by_kind.push(&row, &content)?;
            }
            Ok(())
        });
        let parked = match folded {
            Ok(parked) => parked,
            Err(Stop::Workspace(error)) => return Err(error),
            Err(Stop::ReadModels(error)) => return Ok(Err(error)),
        };
        Ok(Ok(Folded { replay, digest, sorted: rows_by_kind.finish()?, staging, parked }))
    };
    Ok(blocking(workspace, folding).await??)
}

/// Rows of each kind, in the order that [`Staging::write`] asks for.
struct RowSorters {
    stock: Sorter,
    reservations: Sorter,
    order_stock_events: Sorter,
    orders: Sorter,
    payments: Sorter,
}

impl RowSorters {
    fn new(workspace: &Workspace) -> Self {
        let sorter = || workspace.sorter(8);
        Self {
            stock: sorter(),
            reservations: sorter(),
            order_stock_events: sorter(),
            orders: sorter(),
            payments: sorter(),
        }
    }

    /// `content`: the row as JSON.
    fn push(&mut self, row: &StoredRow, content: &[u8]) -> io::Result<()> {
        // Microseconds as the adapters store them, with the sign changed so that they sort as bytes.
        let time = |time: Timestamp| (time.as_microsecond() ^ i64::MIN).to_be_bytes();
        match row {
            StoredRow::Stock(row) => self.stock.push(row.sku.as_str().as_bytes(), content),
            StoredRow::Reservation(row) => {
                let key = [row.sku.as_str().as_bytes(), &[0], row.order_id.0.as_bytes()].concat();
                self.reservations.push(&key, content)
            }
            StoredRow::OrderStockEvent(event) => {
                let key = [event.order_id.0.as_bytes().as_slice(), &event.position.to_be_bytes()].concat();
                self.order_stock_events.push(&key, content)
            }
            StoredRow::Order(row) => {
                let key = [time(row.recorded_at).as_slice(), row.order_id.0.as_bytes()].concat();
                self.orders.push(&key, content)
            }
            StoredRow::Payment(row) => {
                let key = [time(row.recorded_at).as_slice(), row.payment_id.0.as_bytes()].concat();
                self.payments.push(&key, content)
            }
            StoredRow::Sales(..) | StoredRow::Broken { .. } => Ok(()),
        }
    }

    fn finish(self) -> io::Result<SortedRows> {
        Ok(SortedRows {
            stock: self.stock.finish()?,
            reservations: self.reservations.finish()?,
            order_stock_events: self.order_stock_events.finish()?,
            orders: self.orders.finish()?,
            payments: self.payments.finish()?,
        })
    }
}

struct SortedRows {
    stock: Sorted,
    reservations: Sorted,
    order_stock_events: Sorted,
    orders: Sorted,
    payments: Sorted,
}

impl SortedRows {
    async fn write(self, staging: &mut dyn Staging, workspace: &Workspace) -> Result<(), RebuildError> {
        let stock = |stock: Vec<StockRow>| Rows { stock, ..Rows::default() };
        write_kind(self.stock, staging, workspace, stock).await?;
        let reservations = |reservations: Vec<ReservationRow>| Rows { reservations, ..Rows::default() };
        write_kind(self.reservations, staging, workspace, reservations).await?;
        let events =
            |order_stock_events: Vec<OrderStockEvent>| Rows { order_stock_events, ..Rows::default() };
        write_kind(self.order_stock_events, staging, workspace, events).await?;
        let orders = |orders: Vec<OrderRow>| Rows {
            orders: orders.into_iter().map(Arc::new).collect(),
            ..Rows::default()
        };
        write_kind(self.orders, staging, workspace, orders).await?;
        let payments = |payments: Vec<PaymentRow>| Rows {
            payments: payments.into_iter().map(Arc::new).collect(),
            ..Rows::default()
        };
        write_kind(self.payments, staging, workspace, payments).await
    }
}

/// Writes rows of one kind. Another thread reads and decodes the next rows meanwhile.
async fn write_kind<R: DeserializeOwned + Send + 'static>(
    mut sorted: Sorted,
    staging: &mut dyn Staging,
    workspace: &Workspace,
    rows_of: impl Fn(Vec<R>) -> Rows,
) -> Result<(), RebuildError> {
    let (sender, mut chunks) = tokio::sync::mpsc::channel::<Vec<R>>(1);
    let reading = blocking(workspace, move || {
        let mut reader = sorted.read()?;
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some((_, value)) = reader.next()? {
            bytes += value.len();
            chunk.push(serde_json::from_slice(&value)?);
            if bytes >= WRITTEN_BYTES {
                bytes = 0;
                if sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
                    return Ok(());
                }
            }
        }
        // A failed receiver has its own error.
        let _ = sender.blocking_send(chunk);
        Ok(())
    });
    let writing = async move {
        while let Some(chunk) = chunks.recv().await {
            staging.write(rows_of(chunk)).await?;
        }
        Ok::<_, RebuildError>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    written?;
    Ok(read?)
}
