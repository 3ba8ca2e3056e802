//! Compares every row of every read model with a fold of the whole log.

use std::{
    collections::HashMap,
    fmt::{self, Debug},
    hash::Hash,
    sync::Arc,
};

use domain::Position;
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::{EventLog, ReadError},
    read_models::{
        OrderRow, OrderStockEvent, PaymentRow, Projection, ReadModelError, SalesKey, SalesTotals,
        audit::{AllRows, Audit, Stored, StoredRow},
    },
};

use crate::log::{Progress, fold_log};

/// So many differences are described; all are counted.
const DESCRIBED_MAX: usize = 1_000;
const VALUE_CHARS_MAX: usize = 2_000;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verification {
    /// The rows were compared with the log up to here.
    pub position: Option<Position>,
    /// Rows that the log gives.
    pub rows: u64,
    pub differences: u64,
    /// The first of them, at most 1,000.
    pub described: Vec<Difference>,
}

/// A row that is not as the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub projection: Projection,
    pub key: String,
    pub fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
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
    /// The row does not go together with its own search columns or sums, or cannot be read.
    Broken(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.projection, self.key)?;
        match &self.fault {
            Fault::Missing { expected } => write!(f, "missing; by the log: {expected}"),
            Fault::NotInLog { stored } => write!(f, "not in the log; stored: {stored}"),
            Fault::Differs { stored, expected } => write!(f, "stored: {stored}; by the log: {expected}"),
            Fault::Broken(fault) => f.write_str(fault),
        }
    }
}

/// Why a verification could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// Which events it has cannot be told.
    #[error(
        "the read models have events of the partition {}, which ORDERLY_BUS does not have: set it as it is set for \
         the projectors, or run `orderly projections rebuild`",
        .0.0
    )]
    OtherLayout(Partition),
}

/// Folds the log as far as the read models have come in each partition, and compares. Works while a server runs: the
/// rows are those of one moment.
pub async fn verify(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    models: &dyn Audit,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Verification, VerifyError> {
    let stored = models.stored().await?;
    let until = reached(&layout.partitions(), &stored.log_positions)?;
    let expected = fold_log(log, layout, Some(until), progress).await?;
    Ok(compare(Arc::new(expected), stored).await?)
}

/// How far each of `partitions` is in the rows. Projectors that used to follow the log itself have brought all of them
/// up to where they stopped.
fn reached(
    partitions: &[Partition],
    log_positions: &[(Partition, Option<Position>)],
) -> Result<Vec<Option<Position>>, VerifyError> {
    let of = |partition: &Partition| {
        log_positions.iter().find(|(name, _)| name == partition).and_then(|(_, position)| *position)
    };
    let everything = of(&Partition::whole_log());
    for (partition, position) in log_positions {
        if *position > everything && !partitions.contains(partition) {
            return Err(VerifyError::OtherLayout(partition.clone()));
        }
    }
    Ok(partitions.iter().map(|partition| of(partition).max(everything)).collect())
}

/// Compares rows with those expected, in both directions.
pub async fn compare(expected: Arc<AllRows>, mut stored: Stored) -> Result<Verification, ReadModelError> {
    let comparing = tokio::task::spawn_blocking(move || {
        let sales = summed(&expected.sales);
        let mut comparison = Comparison::new(&expected, &sales);
        while let Some(chunk) = stored.rows.blocking_recv() {
            for row in chunk? {
                comparison.take(row);
            }
        }
        Ok(comparison.finish())
    });
    comparing.await.unwrap_or_else(|error| Err(ReadModelError::Unavailable(error.to_string().into())))
}

/// Sums over all partitions.
fn summed(sales: &[(Partition, Vec<(SalesKey, SalesTotals)>)]) -> HashMap<SalesKey, SalesTotals> {
    let mut sums: HashMap<SalesKey, SalesTotals> = HashMap::new();
    for (key, sum) in sales.iter().flat_map(|(_, sums)| sums) {
        sums.entry(key.clone()).or_default().add(sum);
    }
    sums
}

struct Comparison<'a> {
    stock: Expected<'a, domain::Sku, infra::read_models::StockRow>,
    reservations: Expected<'a, (domain::Sku, domain::OrderId), infra::read_models::ReservationRow>,
    order_stock_events: Expected<'a, (domain::OrderId, Position), OrderStockEvent>,
    orders: Expected<'a, domain::OrderId, OrderRow>,
    payments: Expected<'a, domain::PaymentId, PaymentRow>,
    sales: Expected<'a, SalesKey, SalesTotals>,
    found: Verification,
}

/// Rows that have not been met yet, by key.
struct Expected<'a, K, R> {
    projection: Projection,
    rows: HashMap<K, &'a R>,
}

impl<'a, K: Hash + Eq + Debug, R: PartialEq + Debug> Expected<'a, K, R> {
    fn new(projection: Projection, rows: impl Iterator<Item = (K, &'a R)>) -> Self {
        Self { projection, rows: rows.collect() }
    }

    fn meet(&mut self, key: &K, stored: &R, found: &mut Verification) {
        let fault = match self.rows.remove(key) {
            None => Fault::NotInLog { stored: shortened(stored) },
            Some(expected) if expected == stored => return,
            Some(expected) => Fault::Differs { stored: shortened(stored), expected: shortened(expected) },
        };
        found.note(self.projection, format!("{key:?}"), fault);
    }

    fn report_missing(self, found: &mut Verification) {
        let mut missing: Vec<(String, &R)> =
            self.rows.into_iter().map(|(key, row)| (format!("{key:?}"), row)).collect();
        missing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, row) in missing {
            found.note(self.projection, key, Fault::Missing { expected: shortened(row) });
        }
    }
}

impl Verification {
    fn note(&mut self, projection: Projection, key: String, fault: Fault) {
        self.differences += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(Difference { projection, key, fault });
        }
    }
}

impl<'a> Comparison<'a> {
    fn new(rows: &'a AllRows, sales: &'a HashMap<SalesKey, SalesTotals>) -> Self {
        let count = rows.stock.len()
            + rows.reservations.len()
            + rows.order_stock_events.len()
            + rows.orders.len()
            + rows.payments.len()
            + sales.len();
        let reservations = rows.reservations.iter().map(|row| ((row.sku.clone(), row.order_id), row));
        let stock_events = rows.order_stock_events.iter();
        let stock_events = stock_events.map(|event| ((event.order_id, event.position), event));
        Self {
            order_stock_events: Expected::new(Projection::Stock, stock_events),
            stock: Expected::new(Projection::Stock, rows.stock.iter().map(|row| (row.sku.clone(), row))),
            reservations: Expected::new(Projection::Stock, reservations),
            orders: Expected::new(
                Projection::Orders,
                rows.orders.iter().map(|row| (row.order_id, row.as_ref())),
            ),
            payments: Expected::new(
                Projection::Payments,
                rows.payments.iter().map(|row| (row.payment_id, row.as_ref())),
            ),
            sales: Expected::new(Projection::Sales, sales.iter().map(|(key, sum)| (key.clone(), sum))),
            found: Verification { position: rows.position, rows: count as u64, ..Verification::default() },
        }
    }

    fn take(&mut self, row: StoredRow) {
        let found = &mut self.found;
        match row {
            StoredRow::Stock(row) => self.stock.meet(&row.sku.clone(), &row, found),
            StoredRow::Reservation(row) => {
                self.reservations.meet(&(row.sku.clone(), row.order_id), &row, found);
            }
            StoredRow::OrderStockEvent(event) => {
                self.order_stock_events.meet(&(event.order_id, event.position), &event, found);
            }
            StoredRow::Order(row) => self.orders.meet(&row.order_id, &row, found),
            StoredRow::Payment(row) => self.payments.meet(&row.payment_id, &row, found),
            StoredRow::Sales(key, sum) => self.sales.meet(&key, &sum, found),
            StoredRow::Broken { projection, key, fault } => found.note(projection, key, Fault::Broken(fault)),
        }
    }

    fn finish(self) -> Verification {
        let mut found = self.found;
        self.stock.report_missing(&mut found);
        self.reservations.report_missing(&mut found);
        self.order_stock_events.report_missing(&mut found);
        self.orders.report_missing(&mut found);
        self.payments.report_missing(&mut found);
        self.sales.report_missing(&mut found);
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
