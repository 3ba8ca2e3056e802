//! Rebuilds all read models from the log, and replaces the rows in use.

use std::{io, sync::Arc};

use domain::{Position, Timestamp};
use infra::{
    event_source::layout::SourceLayout,
    event_store::{EventLog, ReadError},
    external_sort::{Sorted, Sorter},
    read_models::{
        OrderStockEvent, ParkedStream, ReadModelError, ReservationRow, Rows, StockRow, StoredRow,
        audit::{Rebuild, RebuiltFrom, Staging},
        encoded::{Encoded, EncodedOrder, EncodedPayment, EncodedRow, EncodedRows},
    },
};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::{
    digest::expected_rows,
    replay::{ReadProgress, Replay, ReplayError, Workspace},
    verify::{Expected, Stop, Verification, VerifyError, blocking, compare, settle},
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
    let Folded { replay, expected, sorted, mut staging, parked } = fold(replay, staging, workspace).await?;
    progress(RebuildStep::Writing);
    sorted.write(staging.as_mut(), workspace).await?;
    let parked_count = parked.len();
    let from = RebuiltFrom { store_id: log.store_id(), last_event, partitions, parked };
    let staged = staging.finish(from).await?;
    progress(RebuildStep::Verifying);
    let stored = staged.stored().await?;
    let found = compare(replay, &expected, &stored, workspace).await?;
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
    expected: Expected,
    sorted: SortedRows,
    staging: Box<dyn Staging>,
    parked: Vec<ParkedStream>,
}

/// Folds all streams. Sorts the rows, and writes those that need no order: the index of orders by SKU, and the
/// sums of sales and money and the counts, which come sorted.
async fn fold(
    mut replay: Replay,
    mut staging: Box<dyn Staging>,
    workspace: &Workspace,
) -> Result<Folded, RebuildError> {
    let mut sorters = RowSorters::new(workspace);
    let runtime = Handle::current();
    let folding = move || {
        let mut expected = Expected::default();
        let folded = replay.fold::<Stop>(|mut rows| {
            let (sales, money, counts) = (rows.sales.clone(), rows.money.clone(), rows.counts.clone());
            let mut unsorted = EncodedRows {
                sales: std::mem::take(&mut rows.sales),
                money: std::mem::take(&mut rows.money),
                counts: std::mem::take(&mut rows.counts),
                ..EncodedRows::default()
            };
            for row in expected_rows(Rows { sales, money, counts, ..rows }) {
                expected.add(row, |row, content| match row {
                    EncodedRow::OrderSku(entry) => {
                        unsorted.order_skus.push(entry);
                        Ok(())
                    }
                    row @ (EncodedRow::Order(_) | EncodedRow::Payment(_) | EncodedRow::Plain(_)) => {
                        Ok(sorters.push(&row, content)?)
                    }
                })?;
            }
            Ok(runtime.block_on(staging.write(unsorted))?)
        });
        let parked = match settle(folded)? {
            Ok(parked) => parked,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(Folded { replay, expected, sorted: sorters.finish()?, staging, parked }))
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

    fn push(&mut self, row: &EncodedRow, content: &[u8]) -> io::Result<()> {
        // Microseconds as the adapters store them, with the sign changed so that they sort as bytes.
        let time = |time: Timestamp| (time.as_microsecond() ^ i64::MIN).to_be_bytes();
        match row {
            EncodedRow::Order(Encoded { head, .. }) => {
                let key = [time(head.recorded_at).as_slice(), head.order_id.0.as_bytes()].concat();
                self.orders.push(&key, content)
            }
            EncodedRow::Payment(Encoded { head, .. }) => {
                let key = [time(head.recorded_at).as_slice(), head.payment_id.0.as_bytes()].concat();
                self.payments.push(&key, content)
            }
            EncodedRow::Plain(StoredRow::Stock(row)) => self.stock.push(row.sku.as_str().as_bytes(), content),
            EncodedRow::Plain(StoredRow::Reservation(row)) => {
                let key = [row.sku.as_str().as_bytes(), &[0], row.order_id.0.as_bytes()].concat();
                self.reservations.push(&key, content)
            }
            EncodedRow::Plain(StoredRow::OrderStockEvent(event)) => {
                let key = [event.order_id.0.as_bytes().as_slice(), &event.position.to_be_bytes()].concat();
                self.order_stock_events.push(&key, content)
            }
            EncodedRow::Plain(
                StoredRow::Sales(..)
                | StoredRow::Money(..)
                | StoredRow::Count(..)
                | StoredRow::Broken { .. }
                | StoredRow::Order(_)
                | StoredRow::Payment(_),
            )
            | EncodedRow::OrderSku(_) => Ok(()),
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
        let stock = |stock: Vec<StockRow>| EncodedRows { stock, ..EncodedRows::default() };
        write_kind(self.stock, staging, workspace, from_json, stock).await?;
        let reservations =
            |reservations: Vec<ReservationRow>| EncodedRows { reservations, ..EncodedRows::default() };
        write_kind(self.reservations, staging, workspace, from_json, reservations).await?;
        let events = |order_stock_events: Vec<OrderStockEvent>| EncodedRows {
            order_stock_events,
            ..EncodedRows::default()
        };
        write_kind(self.order_stock_events, staging, workspace, from_json, events).await?;
        let orders = |orders: Vec<EncodedOrder>| EncodedRows { orders, ..EncodedRows::default() };
        write_kind(self.orders, staging, workspace, Encoded::from_bytes, orders).await?;
        let payments = |payments: Vec<EncodedPayment>| EncodedRows { payments, ..EncodedRows::default() };
        write_kind(self.payments, staging, workspace, Encoded::from_bytes, payments).await
    }
}

fn from_json<R: DeserializeOwned>(json: &[u8]) -> Option<R> {
    serde_json::from_slice(json).ok()
}

/// Writes rows of one kind. Another thread reads and decodes the next rows meanwhile.
async fn write_kind<R: Send + 'static>(
    mut sorted: Sorted,
    staging: &mut dyn Staging,
    workspace: &Workspace,
    decode: fn(&[u8]) -> Option<R>,
    rows_of: impl Fn(Vec<R>) -> EncodedRows,
) -> Result<(), RebuildError> {
    let (sender, mut chunks) = tokio::sync::mpsc::channel::<Vec<R>>(1);
    let reading = blocking(workspace, move || {
        let mut reader = sorted.read()?;
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some((_, value)) = reader.next()? {
            bytes += value.len();
            chunk.push(decode(value).ok_or(io::ErrorKind::InvalidData)?);
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
