//! Read models over [`Tables`], with the failures of [`Hazards`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use domain::{
    Currency, OrderId, PaymentId, Position, Sku, StreamName, Timestamp,
    order::{Order, OrderStatus},
};
use infra::{
    event_source::{Partition, Reached},
    read_models::{
        BindError, Changes, ChargeQuery, Charges, CheckpointRow, Count, CountQueries, Generation, Money,
        MoneyKey, MoneyQueries, MoneyQuery, MoneyTotals, OrderAt, OrderFilter, OrderPage, OrderQueries,
        OrderRow, OrderStockEvent, OrderSummaryRow, OrderWork, OverdueQueries, ParkedStream, PaymentAt,
        PaymentFilter, PaymentPage, PaymentQueries, PaymentRow, ProjectionQueries, Queries, ReadModelError,
        ReadModels, ReservationRow, RowKeys, RowPage, Rows, Sales, SalesDimension, SalesGroup, SalesKey,
        SalesQueries, SalesQuery, SalesTotals, StockFilter, StockPage, StockQueries, StockRow, StreamChanges,
        TimeRange, Totals, Wait, WaitFilter, WaitKind, WaitQueries, Waiters, group_key,
    },
};
use uuid::Uuid;

use super::{Durable, Fate, Hazards, ListedRows, Operation, Tables, counts, lists::stock_page};

/// The port for projectors and the port for queries. Clones share their tables.
#[derive(Clone)]
pub struct MemoryReadModels {
    tables: Durable<Tables>,
    hazards: Arc<dyn Hazards>,
    waiters: Waiters,
}

impl fmt::Debug for MemoryReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReadModels").finish_non_exhaustive()
    }
}

impl MemoryReadModels {
    pub fn open(tables: Durable<Tables>, hazards: Arc<dyn Hazards>) -> Self {
        Self { tables, hazards, waiters: Waiters::default() }
    }

    async fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, ReadModelError> {
        match self.hazards.before(Operation::ReadRows).await {
            Fate::Succeed => Ok(read(&self.tables.lock())),
            Fate::Fail | Fate::Vanish | Fate::LoseAnswer => Err(failed()),
        }
    }
}

fn failed() -> ReadModelError {
    ReadModelError::Unavailable("the simulation fails this call".into())
}

#[async_trait]
impl ReadModels for MemoryReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.read(|_| ()).await?;
        let bound = *self.tables.lock().bound.get_or_insert(store_id);
        if bound == store_id { Ok(()) } else { Err(BindError::OtherLog { bound, given: store_id }) }
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.read(|_| Tables::generation()).await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError> {
        self.read(|tables| tables.checkpoint(partition)).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.read(|tables| tables.load(&keys)).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        let fate = self.hazards.before(Operation::CommitRows).await;
        if matches!(fate, Fate::Fail | Fate::Vanish) {
            return Err(failed());
        }
        let streams: Vec<StreamName> = changes.streams().collect();
        let refuses = |stream: &StreamName| self.hazards.refuses_rows_of(stream);
        self.tables.lock().commit(changes, self.hazards.now(), refuses)?;
        self.hazards.after(Operation::CommitRows).await;
        self.waiters.wake(&streams);
        if fate == Fate::Succeed { Ok(()) } else { Err(failed()) }
    }

    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError> {
        let refuses = |stream: &StreamName| self.hazards.refuses_rows_of(stream);
        self.read(|tables| tables.rehearse(&changes, refuses)).await?
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.read(|tables| tables.parked.values().map(|(row, _)| row.clone()).collect()).await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.read(|_| ()).await?;
        let mut tables = self.tables.lock();
        let mut found = false;
        for (row, retry_requested) in tables.parked.values_mut() {
            if row.stream == *stream {
                *retry_requested = true;
                found = true;
            }
        }
        Ok(found)
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        let list = |tables: &Tables| {
            let requested = tables.parked.values().filter(|(_, retry_requested)| *retry_requested);
            requested.map(|(row, _)| row.clone()).collect()
        };
        self.read(list).await
    }
}

fn waits(tables: &Tables, filter: &WaitFilter, limit: usize) -> RowPage<Wait> {
    let mut waits: BTreeSet<(Timestamp, Uuid, u8, WaitKind)> = BTreeSet::new();
    let mut add = |since: Timestamp, id: Uuid, kind: WaitKind| waits.insert((since, id, kind.code(), kind));
    for row in tables.orders.values() {
        let id = row.order_id.0;
        match row.order.status() {
            OrderStatus::Placed => _ = add(row.recorded_at, id, WaitKind::Allocation),
            OrderStatus::Allocated => {
                let due = row.order.payment_due_at().filter(|_| waits_for_payment(&row.order));
                due.map(|due_at| add(due_at, id, WaitKind::Expiry));
            }
            OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => {}
        }
    }
    for row in tables.ended_orders_with_reservations().iter().filter_map(|id| tables.orders.get(id)) {
        add(row.updated_at, row.order_id.0, WaitKind::Release);
    }
    for row in tables.payments.values() {
        if let Some(since) = row.awaits_provider_since {
            add(since, row.payment_id.0, WaitKind::Provider);
        }
    }
    let matching = waits.into_iter().filter(|(since, id, code, _)| {
        *since < filter.since_before && filter.after.is_none_or(|after| (*since, *id, *code) > after)
    });
    page(matching.map(|(since, id, _, kind)| Wait { since, id, kind }), limit)
}

fn waits_for_payment(order: &Order) -> bool {
    order.awaits_payment()
}

fn page<T>(rows: impl Iterator<Item = T>, limit: usize) -> RowPage<T> {
    RowPage::cut(rows.take(limit.saturating_add(1)).collect(), limit)
}

fn listed(tables: &Tables) -> ListedRows<'_> {
    let payments = tables.arrivals.iter().filter_map(|id| tables.payments.get(id));
    ListedRows {
        orders: tables.orders.values().map(AsRef::as_ref).collect(),
        payments: payments.map(AsRef::as_ref).collect(),
    }
}

fn is_within(range: &TimeRange, quarter: i64) -> bool {
    range.from.is_none_or(|from| quarter >= from) && range.to.is_none_or(|to| quarter < to)
}

fn sales(tables: &Tables, query: &SalesQuery, limit: usize) -> Sales {
    let mut sales = Sales::default();
    let mut groups: BTreeMap<String, SalesTotals> = BTreeMap::new();
    let matches = |key: &SalesKey| key.currency == query.currency && is_within(&query.range, key.quarter);
    for (key, sum) in tables.sales_in_all().iter().filter(|(key, _)| matches(key)) {
        if key.dimension == SalesDimension::All {
            sales.total.add(sum);
        }
        if let Some(group) = query.group.and_then(|group| group_of(group, key, &query.range)) {
            groups.entry(group).or_default().add(sum);
        }
    }
    let is_next = |key: &String| query.after.as_ref().is_none_or(|after| key > after);
    sales.groups = page(groups.into_iter().filter(|(key, _)| is_next(key)), limit);
    sales
}

/// The name of the group that a row belongs to. `None` if it does not count towards groups of this kind.
fn group_of(group: SalesGroup, key: &SalesKey, range: &TimeRange) -> Option<String> {
    match (group, &key.dimension) {
        (SalesGroup::Time(group), SalesDimension::All) => Some(group_key(group, &range.zone, key.quarter)),
        (SalesGroup::Sku, SalesDimension::Sku(sku)) => Some(sku.to_string()),
        (SalesGroup::Sku, SalesDimension::NoLine) => Some(String::new()),
        (SalesGroup::Country, SalesDimension::Country(country)) => Some(country.clone()),
        _ => None,
    }
}

fn money(tables: &Tables, query: &MoneyQuery, limit: usize) -> Money {
    let mut money = Money::default();
    let mut groups: BTreeMap<String, MoneyTotals> = BTreeMap::new();
    let matches = |key: &MoneyKey| key.currency == query.currency && is_within(&query.range, key.quarter);
    for (key, sum) in tables.money_in_all().iter().filter(|(key, _)| matches(key)) {
        money.total.add(sum);
        if let Some(group) = query.group {
            groups.entry(group_key(group, &query.range.zone, key.quarter)).or_default().add(sum);
        }
    }
    let is_next = |key: &String| query.after.as_ref().is_none_or(|after| key > after);
    money.groups = page(groups.into_iter().filter(|(key, _)| is_next(key)), limit);
    money
}

#[async_trait]
impl StockQueries for MemoryReadModels {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        self.read(|tables| tables.stock.get(sku).cloned()).await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<StockPage, ReadModelError> {
        let list = |tables: &Tables| stock_page(tables.stock.values(), filter, limit);
        self.read(list).await
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError> {
        let list = |tables: &Tables| {
            let rows = tables.reservations.values();
            let rows = rows.filter(|row| row.sku == *sku && after.is_none_or(|after| row.order_id > after));
            page(rows.cloned(), limit)
        };
        self.read(list).await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError> {
        let list = |tables: &Tables| {
            let events = tables.order_stock_events.iter();
            let events = events.filter(|event| event.order_id == id && Some(event.position) > after);
            page(events.cloned(), limit)
        };
        self.read(list).await
    }
}

#[async_trait]
impl OrderQueries for MemoryReadModels {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.read(|tables| tables.orders.get(&id).map(|row| OrderRow::clone(row))).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.read(|tables| tables.orders.get(&id).map(|row| row.as_ref().into())).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<OrderPage, ReadModelError> {
        self.read(|tables| listed(tables).orders(filter, limit)).await
    }

    async fn order_count(&self, filter: &OrderFilter) -> Result<Count, ReadModelError> {
        self.read(|tables| listed(tables).order_count(filter)).await
    }

    async fn work_counts(&self, now: Timestamp) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
        self.read(|tables| listed(tables).work_counts(now)).await
    }
}

#[async_trait]
impl PaymentQueries for MemoryReadModels {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.read(|tables| tables.payments.get(&id).map(|row| PaymentRow::clone(row))).await
    }

    async fn payments(&self, filter: &PaymentFilter, limit: usize) -> Result<PaymentPage, ReadModelError> {
        self.read(|tables| listed(tables).payments(filter, limit)).await
    }

    async fn payment_count(&self, filter: &PaymentFilter) -> Result<Count, ReadModelError> {
        self.read(|tables| listed(tables).payment_count(filter)).await
    }
}

#[async_trait]
impl SalesQueries for MemoryReadModels {
    async fn sales(&self, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
        self.read(|tables| sales(tables, query, limit)).await
    }

    async fn currencies(&self) -> Result<Vec<Currency>, ReadModelError> {
        let list = |tables: &Tables| {
            let currencies: BTreeSet<Currency> =
                tables.sales_in_all().into_keys().map(|key| key.currency).collect();
            currencies.into_iter().collect()
        };
        self.read(list).await
    }
}

#[async_trait]
impl MoneyQueries for MemoryReadModels {
    async fn money(&self, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
        self.read(|tables| money(tables, query, limit)).await
    }
}

#[async_trait]
impl CountQueries for MemoryReadModels {
    async fn charges(&self, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
        self.read(|tables| counts::charges(tables, query, limit)).await
    }

    async fn units_sold(&self, skus: &[Sku], days: (i64, i64)) -> Result<BTreeMap<Sku, i64>, ReadModelError> {
        self.read(|tables| counts::units_sold(tables, skus, days)).await
    }
}

#[async_trait]
impl WaitQueries for MemoryReadModels {
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError> {
        self.read(|tables| waits(tables, filter, limit)).await
    }
}

#[async_trait]
impl OverdueQueries for MemoryReadModels {
    async fn ended_orders_with_reservations(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        let is_listed = self.hazards.lists_unfinished_orders();
        let list = |tables: &Tables| {
            let ended = tables.ended_orders_with_reservations().into_iter();
            ended.filter(|id| is_listed && after.is_none_or(|after| *id > after)).take(limit).collect()
        };
        self.read(list).await
    }

    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        let is_listed = self.hazards.lists_unfinished_orders();
        let list = |tables: &Tables| {
            let placed = tables.orders.values().filter(|row| row.order.status() == OrderStatus::Placed);
            let placed = placed.filter(|row| is_listed && row.recorded_at < before);
            let placed = placed.filter_map(|row| Some((row.order.placed_at()?, row.order_id)));
            page_by_time(placed, after, limit)
        };
        self.read(list).await
    }

    async fn orders_due_before(
        &self,
        now: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        let list = |tables: &Tables| {
            let due = |row: &OrderRow| row.order.payment_due_at().filter(|_| waits_for_payment(&row.order));
            let due = tables.orders.values().filter_map(|row| Some((due(row)?, row.order_id)));
            page_by_time(due.filter(|(due_at, _)| *due_at <= now), after, limit)
        };
        self.read(list).await
    }

    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        let list = |tables: &Tables| {
            let waiting = tables.payments.values().filter(|row| {
                let is_next = after.is_none_or(|after| row.payment_id > after);
                is_next && row.awaits_provider_since.is_some_and(|since| since < updated_before)
            });
            waiting.take(limit).map(|row| row.payment_id).collect()
        };
        self.read(list).await
    }

    async fn authorizations_run_out_by(
        &self,
        now: Timestamp,
        after: Option<PaymentAt>,
        limit: usize,
    ) -> Result<Vec<PaymentAt>, ReadModelError> {
        let list = |tables: &Tables| {
            let held = tables.payments.values();
            let held = held.filter_map(|row| Some((row.payment.authorized_until()?, row.payment_id)));
            page_by_time(held.filter(|(until, _)| *until <= now), after, limit)
        };
        self.read(list).await
    }
}

fn page_by_time<P: Ord + Copy>(places: impl Iterator<Item = P>, after: Option<P>, limit: usize) -> Vec<P> {
    let mut places: Vec<_> = places.filter(|place| after.is_none_or(|after| *place > after)).collect();
    places.sort_unstable();
    places.truncate(limit);
    places
}

#[async_trait]
impl ProjectionQueries for MemoryReadModels {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        let list = |tables: &Tables| {
            let rows = tables.checkpoints.iter().map(|((projection, partition), row)| CheckpointRow {
                projection: (*projection).to_owned(),
                partition: partition.clone(),
                position: row.position,
                log_position: row.last_event.as_ref().map(|event| event.position),
                last_event: row.last_event.clone(),
                updated_at: Some(row.updated_at),
            });
            rows.collect()
        };
        self.read(list).await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.parked().await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.read(|tables| tables.parked.keys().any(|(_, parked)| parked == stream)).await
    }
}

impl Queries for MemoryReadModels {
    fn changes_of(&self, stream: &StreamName) -> StreamChanges {
        self.waiters.of(stream)
    }
}
