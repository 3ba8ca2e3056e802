//! The rows of all read models, and how an event changes them.
//!
//! An event is applied exactly once: one whose revision its row already has is passed over, and one that is not
//! the next is never applied. An event that cannot be applied parks its stream: the stream's row stays as it was
//! before the event, later events of the stream wait in the log, and every other stream goes on.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use domain::{
    Event, EventId, OrderId, PaymentId, Position, RecordedEvent, Revision, Sku, StreamName, Timestamp,
    order::OrderEvent, payment::PaymentEvent, stock::StockEvent,
};
use infra::{
    event_source::Partition,
    read_models::{
        Changes, OrderRow, OrderStockEvent, ParkedStream, PaymentRow, Projection, ReservationRow, RowKeys,
        Rows, SalesKey, SalesTotals, StockRow, audit::AllRows,
    },
};

use crate::{orders, payments, sales, stock};

/// An event as projections take it: decoded once, for all of them.
#[derive(Debug)]
pub struct Decoded {
    pub id: EventId,
    pub stream: StreamName,
    pub revision: Revision,
    pub position: Position,
    pub recorded_at: Timestamp,
    /// The event, or why it cannot be read.
    pub event: Result<Event, String>,
}

impl From<RecordedEvent> for Decoded {
    fn from(recorded: RecordedEvent) -> Self {
        let event = recorded.decode().map_err(|error| error.to_string());
        let RecordedEvent { id, stream, revision, position, recorded_at, .. } = recorded;
        Self { id, stream, revision, position, recorded_at, event }
    }
}

/// Why an event cannot be applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    #[error("{0}")]
    Undecodable(String),
    #[error("revision {expected} should come next, and {found} came: events in between are missing")]
    Gap { expected: Revision, found: Revision },
    /// What is in the log breaks a rule that holds for every event the domain decides on.
    #[error("the event contradicts the ones before it: {0}")]
    Contradiction(String),
}

/// Runs a fold of the domain, which asserts what its decisions guarantee.
pub(crate) fn guarded<T>(fold: impl FnOnce() -> T) -> Result<T, Poison> {
    catch_unwind(AssertUnwindSafe(fold)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Poison::Contradiction(text.unwrap_or("an assertion failed").to_owned())
    })
}

/// Rows, and what became of them. Of a stream without a row nothing was applied yet, so every row that events
/// will touch has to be here beforehand.
#[derive(Debug, Default)]
pub struct Fold {
    stock: HashMap<Sku, StockRow>,
    reservations: HashMap<(Sku, OrderId), u32>,
    /// What this fold adds to them.
    order_stock_events: Vec<OrderStockEvent>,
    orders: HashMap<OrderId, Arc<OrderRow>>,
    payments: HashMap<PaymentId, Arc<PaymentRow>>,
    /// Where events come from.
    partitions: Vec<Partition>,
    /// What is to be added to the sums of each of `partitions`.
    sales: Vec<HashMap<SalesKey, SalesTotals>>,
    /// The streams that are parked now.
    parked: HashSet<StreamName>,
    /// Those of them that were parked by this fold.
    newly_parked: Vec<ParkedStream>,
    /// Those of them that had events passed over by this fold, and were parked before.
    skipped: HashSet<StreamName>,
    /// The rows that changed, where that is asked for.
    touched: Option<RowKeys>,
}

impl Fold {
    /// Folds a batch of a partition onto rows of the same streams; [`Fold::into_changes`] tells what changed.
    pub fn batch(partition: Partition, parked: HashSet<StreamName>) -> Self {
        Self { parked, touched: Some(RowKeys::default()), ..Self::whole_log(vec![partition]) }
    }

    /// Folds a whole log, divided into `partitions`, from nothing.
    pub fn whole_log(partitions: Vec<Partition>) -> Self {
        let sales = partitions.iter().map(|_| HashMap::new()).collect();
        Self { partitions, sales, ..Self::default() }
    }

    pub fn put_rows(&mut self, rows: Rows) {
        self.stock.extend(rows.stock.into_iter().map(|row| (row.sku.clone(), row)));
        let held = rows.reservations.into_iter();
        self.reservations.extend(held.map(|row| ((row.sku, row.order_id), row.quantity)));
        self.orders.extend(rows.orders.into_iter().map(|row| (row.order_id, Arc::new(row))));
        self.payments.extend(rows.payments.into_iter().map(|row| (row.payment_id, Arc::new(row))));
    }

    pub fn put_stock(&mut self, row: StockRow) {
        self.stock.insert(row.sku.clone(), row);
    }

    pub fn put_order(&mut self, row: Arc<OrderRow>) {
        self.orders.insert(row.order_id, row);
    }

    pub fn put_payment(&mut self, row: Arc<PaymentRow>) {
        self.payments.insert(row.payment_id, row);
    }

    /// Applies an event, or parks its stream. `source` says which of the partitions the event came from.
    pub fn apply(&mut self, event: &Decoded, source: usize) {
        if self.parked.contains(&event.stream) {
            let parked_here = self.newly_parked.iter().any(|parked| parked.stream == event.stream);
            if !parked_here {
                self.skipped.insert(event.stream.clone());
            }
            return;
        }
        let expected = self.revision(&event.stream).map_or(0, |revision| revision + 1);
        if event.revision < expected {
            return;
        }
        let outcome = if event.revision > expected {
            Err(Poison::Gap { expected, found: event.revision })
        } else {
            self.apply_next(event, source)
        };
        if let Err(poison) = outcome {
            self.parked.insert(event.stream.clone());
            self.newly_parked.push(ParkedStream {
                projection: Projection::of_stream(&event.stream),
                stream: event.stream.clone(),
                partition: self.partitions[source].clone(),
                event_id: event.id,
                revision: event.revision,
                position: event.position,
                reason: poison.to_string(),
                parked_at: Timestamp::now(),
            });
        }
    }

    /// The revision that the row of a stream reflects.
    pub fn revision(&self, stream: &StreamName) -> Option<Revision> {
        match stream {
            StreamName::Stock(sku) => self.stock.get(sku).map(|row| row.revision),
            StreamName::Order(id) => self.orders.get(id).map(|row| row.revision),
            StreamName::Payment(id) => self.payments.get(id).map(|row| row.revision),
        }
    }

    fn apply_next(&mut self, event: &Decoded, source: usize) -> Result<(), Poison> {
        let data = event.event.as_ref().map_err(|error| Poison::Undecodable(error.clone()))?;
        match (&event.stream, data) {
            (StreamName::Stock(sku), Event::Stock(data)) => self.apply_stock(sku, data, event),
            (StreamName::Order(id), Event::Order(data)) => self.apply_order(*id, data, event, source),
            (StreamName::Payment(id), Event::Payment(data)) => self.apply_payment(*id, data, event),
            (StreamName::Stock(_) | StreamName::Order(_) | StreamName::Payment(_), _) => {
                Err(Poison::Contradiction("it belongs to a stream of another kind".to_owned()))
            }
        }
    }

    fn apply_stock(&mut self, sku: &Sku, data: &StockEvent, event: &Decoded) -> Result<(), Poison> {
        let Decoded { revision, position, .. } = *event;
        let order = stock::order_of(data);
        let held = order.and_then(|order| self.reservations.get(&(sku.clone(), order)).copied());
        let folded = stock::fold(sku, self.stock.get(sku), held.unwrap_or(0), data, revision)?;
        self.stock.insert(sku.clone(), folded.row);
        if let Some(order_id) = stock::order_concerned(data) {
            self.order_stock_events.push(OrderStockEvent { order_id, position, sku: sku.clone(), revision });
        }
        if let Some(order) = order {
            let key = (sku.clone(), order);
            if let Some(touched) = &mut self.touched {
                touched.reservations.insert(key.clone());
            }
            match folded.held {
                0 => self.reservations.remove(&key),
                quantity => self.reservations.insert(key, quantity),
            };
        }
        if let Some(touched) = &mut self.touched {
            touched.stock.insert(sku.clone());
        }
        Ok(())
    }

    fn apply_order(
        &mut self,
        id: OrderId,
        data: &OrderEvent,
        event: &Decoded,
        source: usize,
    ) -> Result<(), Poison> {
        let before = self.orders.get(&id);
        let after = orders::fold(id, before.map(AsRef::as_ref), data, event)?;
        let sums = guarded(|| sales::fold(before.map(|row| &row.order), &after.order, data))?;
        self.orders.insert(id, Arc::new(after));
        for (key, sum) in sums {
            self.sales[source].entry(key).or_default().add(&sum);
        }
        if let Some(touched) = &mut self.touched {
            touched.orders.insert(id);
        }
        Ok(())
    }

    fn apply_payment(&mut self, id: PaymentId, data: &PaymentEvent, event: &Decoded) -> Result<(), Poison> {
        let before = self.payments.get(&id);
        let after = payments::fold(id, before.map(AsRef::as_ref), data, event)?;
        self.payments.insert(id, Arc::new(after));
        if let Some(touched) = &mut self.touched {
            touched.payments.insert(id);
        }
        Ok(())
    }

    /// What the batch changed, to be written with a checkpoint that goes from `from` to `to`.
    pub fn into_changes(mut self, from: Option<Position>, to: Option<Position>) -> Changes {
        let touched = self.touched.take().unwrap_or_default();
        let partition = self.partitions.swap_remove(0);
        let mut changes = Changes::none(partition, from, to);
        changes.stock = touched.stock.iter().filter_map(|sku| self.stock.remove(sku)).collect();
        for key in touched.reservations {
            match self.reservations.get(&key) {
                Some(&quantity) => {
                    let (sku, order_id) = key;
                    changes.reservations.push(ReservationRow { sku, order_id, quantity });
                }
                None => changes.reservations_closed.push(key),
            }
        }
        changes.order_stock_events = self.order_stock_events;
        changes.order_stock_events.sort_unstable();
        changes.orders = touched.orders.iter().filter_map(|id| self.orders.remove(id)).collect();
        changes.payments = touched.payments.iter().filter_map(|id| self.payments.remove(id)).collect();
        changes.sales = sorted_sales(self.sales.swap_remove(0));
        changes.parked = self.newly_parked;
        changes.skipped =
            self.skipped.into_iter().map(|stream| (Projection::of_stream(&stream), stream)).collect();
        changes.skipped.sort_unstable();
        changes
    }

    /// Every row, in the order that [`AllRows`] asks for.
    pub fn into_rows(self) -> AllRows {
        let held = self.reservations.into_iter();
        let mut reservations: Vec<_> =
            held.map(|((sku, order_id), quantity)| ReservationRow { sku, order_id, quantity }).collect();
        reservations.sort_unstable_by(|a, b| (&a.sku, a.order_id).cmp(&(&b.sku, b.order_id)));
        let mut order_stock_events = self.order_stock_events;
        order_stock_events.sort_unstable();
        let mut stock: Vec<_> = self.stock.into_values().collect();
        stock.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        let mut orders: Vec<_> = self.orders.into_values().collect();
        orders.sort_unstable_by_key(|row| (row.recorded_at, row.order_id));
        let mut payments: Vec<_> = self.payments.into_values().collect();
        payments.sort_unstable_by_key(|row| (row.recorded_at, row.payment_id));
        let sales = self.partitions.into_iter().zip(self.sales);
        let sales = sales.filter(|(_, sums)| !sums.is_empty());
        AllRows {
            stock,
            reservations,
            order_stock_events,
            orders,
            payments,
            sales: sales.map(|(partition, sums)| (partition, sorted_sales(sums))).collect(),
            parked: self.newly_parked,
            ..Default::default()
        }
    }
}

fn sorted_sales(sales: HashMap<SalesKey, SalesTotals>) -> Vec<(SalesKey, SalesTotals)> {
    let mut sales: Vec<_> = sales.into_iter().collect();
    sales.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    sales
}

/// The rows that events need.
pub fn keys_of(events: &[Decoded]) -> RowKeys {
    let mut keys = RowKeys::default();
    for event in events {
        add_keys(&mut keys, event);
    }
    keys
}

fn add_keys(keys: &mut RowKeys, event: &Decoded) {
    match &event.stream {
        StreamName::Stock(sku) => {
            if !keys.stock.contains(sku) {
                keys.stock.insert(sku.clone());
            }
            if let Ok(Event::Stock(data)) = &event.event
                && let Some(order) = stock::order_drawn_on(data)
            {
                keys.reservations.insert((sku.clone(), order));
            }
        }
        StreamName::Order(id) => {
            keys.orders.insert(*id);
        }
        StreamName::Payment(id) => {
            keys.payments.insert(*id);
        }
    }
}
