//! Read models in memory: rows of a test, filtered and paged as the port requires.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use domain::{Currency, OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::ReadError,
    operations::{
        OperationsError,
        reconciliations::{Reconciliation, ReconciliationHead, Reconciliations},
    },
    read_models::{
        ChargeQuery, Charges, CheckpointRow, Count, CountQueries, Money, MoneyQueries, MoneyQuery,
        OrderFilter, OrderPage, OrderQueries, OrderRow, OrderStockEvent, OrderSummaryRow, OrderWork,
        ParkedStream, PaymentFilter, PaymentPage, PaymentQueries, PaymentRow, ProjectionQueries, Queries,
        ReadModelError, ReservationRow, RowPage, Sales, SalesQueries, SalesQuery, StockFilter, StockPage,
        StockQueries, StockRow, StreamChanges, Wait, WaitFilter, WaitQueries, Waiters,
    },
};
use simulation::memory::{ListedRows, stock_page};
use tokio::sync::{Semaphore, watch};

pub struct FakeQueries {
    /// Position of the log's last event. `None`: the source of the projectors cannot be read.
    pub log_head: watch::Sender<Option<Position>>,
    /// Each read takes a permit and waits for one if none is left.
    pub gate: Semaphore,
    waiters: Waiters,
    rows: Mutex<Rows>,
}

type Change = Box<dyn FnOnce(&mut Rows) + Send>;

#[derive(Default)]
pub struct Rows {
    pub orders: Vec<OrderRow>,
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    pub order_stock_events: Vec<OrderStockEvent>,
    pub payments: Vec<PaymentRow>,
    pub waits: Vec<Wait>,
    pub sales: Sales,
    pub sales_queries: Vec<SalesQuery>,
    pub currencies: Vec<Currency>,
    pub money: Money,
    pub money_queries: Vec<MoneyQuery>,
    pub charges: Charges,
    pub charge_queries: Vec<ChargeQuery>,
    pub sold: BTreeMap<Sku, i64>,
    /// The days of the last query for sold units.
    pub sold_days: Option<(i64, i64)>,
    pub checkpoints: Vec<CheckpointRow>,
    pub reconciliations: Vec<Reconciliation>,
    pub parked: Vec<ParkedStream>,
    pub failure: Option<ReadModelError>,
    pub panics: bool,
    /// The next read runs it once, after reading the rows: a change between a read and the wait.
    pub after_next_read: Option<Change>,
    pub reads: usize,
}

impl Rows {
    fn listed(&self) -> ListedRows<'_> {
        ListedRows { orders: self.orders.iter().collect(), payments: self.payments.iter().collect() }
    }
}

impl Default for FakeQueries {
    fn default() -> Self {
        Self {
            log_head: watch::Sender::new(None),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            waiters: Waiters::default(),
            rows: Mutex::default(),
        }
    }
}

impl FakeQueries {
    /// Changes the rows and wakes all waiting requests.
    pub fn change(&self, change: impl FnOnce(&mut Rows)) {
        change(&mut self.rows());
        self.waiters.wake_all();
    }

    /// Changes the rows and wakes the requests that wait for a stream.
    pub fn change_stream(&self, stream: &StreamName, change: impl FnOnce(&mut Rows)) {
        change(&mut self.rows());
        self.waiters.wake([stream]);
    }

    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    async fn read<T>(&self, select: impl FnOnce(&mut Rows) -> T) -> Result<T, ReadModelError> {
        self.gate.acquire().await.unwrap().forget();
        let mut rows = self.rows();
        rows.reads += 1;
        if rows.panics {
            drop(rows);
            panic!("a bug, with secrets");
        }
        if let Some(failure) = &rows.failure {
            return Err(failure.clone());
        }
        let selected = select(&mut rows);
        if let Some(change) = rows.after_next_read.take() {
            change(&mut rows);
            self.waiters.wake_all();
        }
        Ok(selected)
    }
}

#[async_trait]
impl SourceLayout for FakeQueries {
    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::whole_log()]
    }

    fn index_of(&self, _stream: &StreamName) -> usize {
        0
    }

    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError> {
        let head = *self.log_head.borrow();
        head.map(|head| vec![Some(head)]).ok_or_else(|| ReadError::Unavailable("no head".into()))
    }
}

/// The page of `rows` after `after`, in ascending order of `key`.
fn page<T: Clone, K: Ord>(
    rows: &[T],
    limit: usize,
    after: Option<&K>,
    key: impl Fn(&T) -> K,
    wanted: impl Fn(&T) -> bool,
) -> RowPage<T> {
    let is_after = |row: &T| after.is_none_or(|after| key(row) > *after);
    let mut items: Vec<T> = rows.iter().filter(|row| wanted(row) && is_after(row)).cloned().collect();
    items.sort_by_key(&key);
    RowPage::cut(items, limit)
}

#[async_trait]
impl OrderQueries for FakeQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.read(|rows| rows.orders.iter().find(|row| row.order_id == id).cloned()).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.read(|rows| rows.orders.iter().find(|row| row.order_id == id).map(Into::into)).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<OrderPage, ReadModelError> {
        self.read(|rows| rows.listed().orders(filter, limit)).await
    }

    async fn order_count(&self, filter: &OrderFilter) -> Result<Count, ReadModelError> {
        self.read(|rows| rows.listed().order_count(filter)).await
    }

    async fn work_counts(&self, now: Timestamp) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
        self.read(|rows| rows.listed().work_counts(now)).await
    }
}

#[async_trait]
impl StockQueries for FakeQueries {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        self.read(|rows| rows.stock.iter().find(|row| row.sku == *sku).cloned()).await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<StockPage, ReadModelError> {
        self.read(|rows| stock_page(&rows.stock, filter, limit)).await
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError> {
        let wanted = |row: &ReservationRow| row.sku == *sku;
        self.read(|rows| page(&rows.reservations, limit, after.as_ref(), |row| row.order_id, wanted)).await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError> {
        let wanted = |event: &OrderStockEvent| event.order_id == id;
        let key = |event: &OrderStockEvent| event.position;
        self.read(|rows| page(&rows.order_stock_events, limit, after.as_ref(), key, wanted)).await
    }
}

#[async_trait]
impl PaymentQueries for FakeQueries {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.read(|rows| rows.payments.iter().find(|row| row.payment_id == id).cloned()).await
    }

    async fn payments(&self, filter: &PaymentFilter, limit: usize) -> Result<PaymentPage, ReadModelError> {
        self.read(|rows| rows.listed().payments(filter, limit)).await
    }

    async fn payment_count(&self, filter: &PaymentFilter) -> Result<Count, ReadModelError> {
        self.read(|rows| rows.listed().payment_count(filter)).await
    }
}

#[async_trait]
impl SalesQueries for FakeQueries {
    async fn sales(&self, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
        self.read(|rows| {
            rows.sales_queries.push(query.clone());
            let Sales { total, groups } = rows.sales.clone();
            Sales {
                total,
                groups: page(&groups.items, limit, query.after.as_ref(), |(key, _)| key.clone(), |_| true),
            }
        })
        .await
    }

    async fn currencies(&self) -> Result<Vec<Currency>, ReadModelError> {
        self.read(|rows| rows.currencies.clone()).await
    }
}

#[async_trait]
impl MoneyQueries for FakeQueries {
    async fn money(&self, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
        self.read(|rows| {
            rows.money_queries.push(query.clone());
            let Money { total, groups } = rows.money.clone();
            Money {
                total,
                groups: page(&groups.items, limit, query.after.as_ref(), |(key, _)| key.clone(), |_| true),
            }
        })
        .await
    }
}

#[async_trait]
impl CountQueries for FakeQueries {
    async fn charges(&self, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
        self.read(|rows| {
            rows.charge_queries.push(query.clone());
            let charges = rows.charges.clone();
            let groups =
                page(&charges.groups.items, limit, query.after.as_ref(), |(key, _)| key.clone(), |_| true);
            Charges { groups, ..charges }
        })
        .await
    }

    async fn units_sold(&self, skus: &[Sku], days: (i64, i64)) -> Result<BTreeMap<Sku, i64>, ReadModelError> {
        self.read(|rows| {
            rows.sold_days = Some(days);
            let sold = rows.sold.iter().filter(|(sku, _)| skus.contains(sku));
            sold.map(|(sku, units)| (sku.clone(), *units)).collect()
        })
        .await
    }
}

#[async_trait]
impl ProjectionQueries for FakeQueries {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        self.read(|rows| rows.checkpoints.clone()).await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.read(|rows| rows.parked.clone()).await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.read(|rows| rows.parked.iter().any(|parked| parked.stream == *stream)).await
    }
}

#[async_trait]
impl WaitQueries for FakeQueries {
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError> {
        let key = |wait: &Wait| (wait.since, wait.id, wait.kind.code());
        let wanted = |wait: &Wait| wait.since < filter.since_before;
        self.read(|rows| page(&rows.waits, limit, filter.after.as_ref(), key, wanted)).await
    }
}

#[async_trait]
impl Reconciliations for FakeQueries {
    async fn keep(&self, reconciliation: &Reconciliation) -> Result<(), OperationsError> {
        self.rows().reconciliations.push(reconciliation.clone());
        Ok(())
    }

    async fn list(&self, limit: usize) -> Result<Vec<ReconciliationHead>, OperationsError> {
        Ok(self.rows().reconciliations.iter().rev().take(limit).map(Reconciliation::head).collect())
    }

    async fn latest(&self, from: Option<Timestamp>) -> Result<Option<Reconciliation>, OperationsError> {
        let rows = self.rows();
        let found = rows.reconciliations.iter().rfind(|kept| from.is_none_or(|from| kept.from == from));
        Ok(found.cloned())
    }
}

impl Queries for FakeQueries {
    fn changes_of(&self, stream: &StreamName) -> StreamChanges {
        self.waiters.of(stream)
    }
}
