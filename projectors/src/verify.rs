//! Compares every row of the read models with a fold of the whole log.

use std::{
    collections::HashMap,
    fmt::{self, Debug},
    hash::Hash,
    sync::Arc,
};

use domain::{OrderId, PaymentId, Position, Sku};
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::{EventLog, ReadError},
    read_models::{
        OrderRow, OrderStockEvent, ParkedStream, PartitionSales, PaymentRow, Projection, ReadModelError,
        ReservationRow, Rows, SalesKey, SalesTotals, StockRow, StoredRow,
        audit::{AllRows, Audit, Stored},
    },
};

use crate::log::{FoldProgress, fold_log};

/// Differences beyond this number are counted but not described.
const DESCRIBED_MAX: usize = 1_000;
const VALUE_CHARS_MAX: usize = 2_000;

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verification {
    /// The rows were compared with the log up to this position.
    pub position: Option<Position>,
    /// Rows that the log folds to.
    pub rows: u64,
    pub differences: u64,
    /// The first differences, at most 1,000.
    pub described: Vec<Difference>,
    /// Streams whose latest events are not in the rows. They were compared up to these events.
    pub parked: Vec<ParkedStream>,
}

/// A row that differs from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub projection: Projection,
    pub key: String,
    pub fault: RowFault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowFault {
    Missing {
        expected: String,
    },
    NotInLog {
        stored: String,
    },
    Differs {
        stored: String,
        expected: String,
    },
    /// The row cannot be read, or contradicts its search columns or sums.
    Broken(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.projection, self.key)?;
        match &self.fault {
            RowFault::Missing { expected } => write!(f, "missing; expected from the log: {expected}"),
            RowFault::NotInLog { stored } => write!(f, "not in the log; stored: {stored}"),
            RowFault::Differs { stored, expected } => {
                write!(f, "stored: {stored}; expected from the log: {expected}")
            }
            RowFault::Broken(fault) => f.write_str(fault),
        }
    }
}

/// Why a verification has failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The layout does not say which events of the log that partition holds.
    #[error(
        "the read models have events of the partition {}, which ORDERLY_BUS does not have: set ORDERLY_BUS as for \
         the projectors, or run `orderly projections rebuild`",
        .0.0
    )]
    OtherLayout(Partition),
}

/// Folds each partition of the log up to the position of the read models, and compares. Works while a server
/// runs: the rows are read in one transaction.
pub async fn verify(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    models: &dyn Audit,
    progress: &(dyn Fn(FoldProgress) + Send + Sync),
) -> Result<Verification, VerifyError> {
    let mut stored = models.stored().await?;
    let until = reached(&layout.partitions(), &stored.log_positions)?;
    let expected = fold_log(log, layout, Some(until), &stored.parked, progress).await?;
    let parked = std::mem::take(&mut stored.parked);
    Ok(Verification { parked, ..compare(Arc::new(expected), stored).await? })
}

/// For each of `partitions`, the position up to which the rows reflect its events. If projectors followed the
/// whole log before the bus was changed, their last position counts for every partition.
fn reached(
    partitions: &[Partition],
    log_positions: &[(Partition, Option<Position>)],
) -> Result<Vec<Option<Position>>, VerifyError> {
    let of = |partition: &Partition| {
        log_positions.iter().find(|(name, _)| name == partition).and_then(|(_, position)| *position)
    };
    let whole_log = of(&Partition::whole_log());
    for (partition, position) in log_positions {
        if *position > whole_log && !partitions.contains(partition) {
            return Err(VerifyError::OtherLayout(partition.clone()));
        }
    }
    Ok(partitions.iter().map(|partition| of(partition).max(whole_log)).collect())
}

/// Compares rows with those expected, in both directions.
pub async fn compare(expected: Arc<AllRows>, mut stored: Stored) -> Result<Verification, ReadModelError> {
    let comparing = tokio::task::spawn_blocking(move || {
        let sales = summed(&expected.rows.sales);
        let mut comparison = Comparison::new(&expected, &sales);
        while let Some(chunk) = stored.rows.blocking_recv() {
            for row in chunk? {
                comparison.compare(row);
            }
        }
        Ok(comparison.finish())
    });
    comparing.await.unwrap_or_else(|error| Err(ReadModelError::Unavailable(error.to_string().into())))
}

/// Sums over all partitions.
fn summed(sales: &[PartitionSales]) -> HashMap<SalesKey, SalesTotals> {
    let mut sums: HashMap<SalesKey, SalesTotals> = HashMap::new();
    for (key, sum) in sales.iter().flat_map(|sales| &sales.sums) {
        sums.entry(key.clone()).or_default().add(sum);
    }
    sums
}

struct Comparison<'a> {
    stock: Expected<'a, Sku, StockRow>,
    reservations: Expected<'a, (Sku, OrderId), ReservationRow>,
    order_stock_events: Expected<'a, (OrderId, Position), OrderStockEvent>,
    orders: Expected<'a, OrderId, OrderRow>,
    payments: Expected<'a, PaymentId, PaymentRow>,
    sales: Expected<'a, SalesKey, SalesTotals>,
    found: Verification,
}

/// The expected rows that were not compared yet, by key.
struct Expected<'a, K, R> {
    projection: Projection,
    rows: HashMap<K, &'a R>,
}

impl<'a, K: Hash + Eq + Debug, R: PartialEq + Debug> Expected<'a, K, R> {
    fn new(
        projection: Projection,
        keyed: impl Iterator<Item = (K, &'a R)>,
        found: &mut Verification,
    ) -> Self {
        let rows: HashMap<K, &'a R> = keyed.collect();
        found.rows += rows.len() as u64;
        Self { projection, rows }
    }

    fn check(&mut self, key: &K, stored: &R, found: &mut Verification) {
        let fault = match self.rows.remove(key) {
            None => RowFault::NotInLog { stored: shortened(stored) },
            Some(expected) if expected == stored => return,
            Some(expected) => RowFault::Differs { stored: shortened(stored), expected: shortened(expected) },
        };
        found.note(self.projection, format!("{key:?}"), fault);
    }

    fn report_missing(self, found: &mut Verification) {
        let mut missing: Vec<(String, &R)> =
            self.rows.into_iter().map(|(key, row)| (format!("{key:?}"), row)).collect();
        missing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, row) in missing {
            found.note(self.projection, key, RowFault::Missing { expected: shortened(row) });
        }
    }
}

impl Verification {
    fn note(&mut self, projection: Projection, key: String, fault: RowFault) {
        self.differences += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(Difference { projection, key, fault });
        }
    }
}

impl<'a> Comparison<'a> {
    fn new(all: &'a AllRows, sales: &'a HashMap<SalesKey, SalesTotals>) -> Self {
        // Names every field, so new rows do not compile before they are compared. A whole log closes no
        // reservation, and `sales` has the sums.
        let Rows {
            stock,
            reservations,
            reservations_closed: _,
            order_stock_events,
            orders,
            payments,
            sales: _,
        } = &all.rows;
        let levels = stock.iter().map(|row| (row.sku.clone(), row));
        let reservations = reservations.iter().map(|row| ((row.sku.clone(), row.order_id), row));
        let stock_events = order_stock_events.iter().map(|event| ((event.order_id, event.position), event));
        let orders = orders.iter().map(|row| (row.order_id, row.as_ref()));
        let payments = payments.iter().map(|row| (row.payment_id, row.as_ref()));
        let sums = sales.iter().map(|(key, sum)| (key.clone(), sum));
        let mut found = Verification { position: all.position, ..Verification::default() };
        Self {
            stock: Expected::new(Projection::Stock, levels, &mut found),
            reservations: Expected::new(Projection::Stock, reservations, &mut found),
            order_stock_events: Expected::new(Projection::Stock, stock_events, &mut found),
            orders: Expected::new(Projection::Orders, orders, &mut found),
            payments: Expected::new(Projection::Payments, payments, &mut found),
            sales: Expected::new(Projection::Sales, sums, &mut found),
            found,
        }
    }

    fn compare(&mut self, row: StoredRow) {
        let found = &mut self.found;
        match row {
            StoredRow::Stock(row) => self.stock.check(&row.sku.clone(), &row, found),
            StoredRow::Reservation(row) => {
                self.reservations.check(&(row.sku.clone(), row.order_id), &row, found);
            }
            StoredRow::OrderStockEvent(event) => {
                self.order_stock_events.check(&(event.order_id, event.position), &event, found);
            }
            StoredRow::Order(row) => self.orders.check(&row.order_id, &row, found),
            StoredRow::Payment(row) => self.payments.check(&row.payment_id, &row, found),
            StoredRow::Sales(key, sum) => self.sales.check(&key, &sum, found),
            StoredRow::Broken { projection, key, fault } => {
                found.note(projection, key, RowFault::Broken(fault));
            }
        }
    }

    fn finish(self) -> Verification {
        let Self { stock, reservations, order_stock_events, orders, payments, sales, mut found } = self;
        stock.report_missing(&mut found);
        reservations.report_missing(&mut found);
        order_stock_events.report_missing(&mut found);
        orders.report_missing(&mut found);
        payments.report_missing(&mut found);
        sales.report_missing(&mut found);
        found
    }
}

fn shortened(row: &impl Debug) -> String {
    let text = format!("{row:?}");
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
