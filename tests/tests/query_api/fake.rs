//! Read models in memory: rows of a test, filtered and paged as the port requires.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use domain::{Currency, OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::ReadError,
    read_models::{
        CheckpointRow, Money, MoneyQueries, MoneyQuery, OrderFilter, OrderQueries, OrderRow, OrderStockEvent,
        OrderSummaryRow, ParkedStream, PaymentFilter, PaymentQueries, PaymentRow, PaymentSummaryRow,
        ProjectionQueries, Queries, ReadModelError, ReservationRow, RowPage, Sales, SalesQueries, SalesQuery,
        StockFilter, StockQueries, StockRow, StreamChanges, Wait, WaitFilter, WaitQueries, Waiters,
    },
};
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
    pub checkpoints: Vec<CheckpointRow>,
    pub parked: Vec<ParkedStream>,
    pub failure: Option<ReadModelError>,
    pub panics: bool,
    /// The next read runs it once, after reading the rows: a change between a read and the wait.
    pub after_next_read: Option<Change>,
    pub reads: usize,
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

fn summaries<T, S: for<'r> From<&'r T>>(page: RowPage<T>) -> RowPage<S> {
    RowPage { items: page.items.iter().map(S::from).collect(), has_more: page.has_more }
}

fn is_wanted<T: PartialEq>(filter: Option<&T>, value: Option<&T>) -> bool {
    filter.is_none_or(|wanted| Some(wanted) == value)
}

#[async_trait]
impl OrderQueries for FakeQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.read(|rows| rows.orders.iter().find(|row| row.order_id == id).cloned()).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.read(|rows| rows.orders.iter().find(|row| row.order_id == id).map(Into::into)).await
    }

    async fn orders(
        &self,
        filter: &OrderFilter,
        limit: usize,
    ) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
        use std::cmp::Reverse;
        let placed_at = |row: &OrderRow| row.order.placed_at().unwrap();
        let wanted = |row: &OrderRow| {
            let customer_id = row.order.customer_id().map(str::to_owned);
            is_wanted(filter.status.as_ref(), Some(&row.order.status()))
                && is_wanted(filter.customer_id.as_ref(), customer_id.as_ref())
                && filter.sku.as_ref().is_none_or(|sku| row.order.lines().iter().any(|line| line.sku == *sku))
                && filter.balance.is_none_or(|balance| balance.is_of(&row.order))
                && filter.placed_from.is_none_or(|from| placed_at(row) >= from)
                && filter.placed_to.is_none_or(|to| placed_at(row) < to)
                && filter.terms.is_none_or(|terms| row.order.terms() == terms)
        };
        if let Some(now) = filter.overdue_at {
            let wanted =
                |row: &OrderRow| wanted(row) && row.order.overdue_from().is_some_and(|from| from <= now);
            let key = |row: &OrderRow| (row.order.overdue_from().unwrap_or(Timestamp::MAX), row.order_id);
            return self
                .read(|rows| summaries(page(&rows.orders, limit, filter.after.as_ref(), key, wanted)))
                .await;
        }
        let key = |row: &OrderRow| Reverse((placed_at(row), row.order_id));
        let after = filter.after.map(Reverse);
        self.read(|rows| summaries(page(&rows.orders, limit, after.as_ref(), key, wanted))).await
    }
}

#[async_trait]
impl StockQueries for FakeQueries {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        self.read(|rows| rows.stock.iter().find(|row| row.sku == *sku).cloned()).await
    }

    async fn stock_list(
        &self,
        filter: &StockFilter,
        limit: usize,
    ) -> Result<RowPage<StockRow>, ReadModelError> {
        let wanted =
            |row: &StockRow| filter.available_below.is_none_or(|below| row.on_hand - row.reserved < below);
        let key = |row: &StockRow| row.sku.clone();
        self.read(|rows| page(&rows.stock, limit, filter.after.as_ref(), key, wanted)).await
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

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<RowPage<PaymentSummaryRow>, ReadModelError> {
        let wanted = |row: &PaymentRow| {
            is_wanted(filter.order_id.as_ref(), row.payment.order_id().as_ref())
                && is_wanted(filter.state.as_ref(), Some(&row.payment.state()))
        };
        let key = |row: &PaymentRow| row.payment_id;
        self.read(|rows| summaries(page(&rows.payments, limit, filter.after.as_ref(), key, wanted))).await
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

impl Queries for FakeQueries {
    fn changes_of(&self, stream: &StreamName) -> StreamChanges {
        self.waiters.of(stream)
    }
}
