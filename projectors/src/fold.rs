//! Folds events onto the rows of all read models.
//!
//! Each event is applied exactly once. An event whose revision its row already has is skipped, and an event
//! that is not the next revision is never applied. An event that cannot be applied parks its stream: the row
//! stays as it was before the event, later events of the stream wait in the log, and every other stream
//! continues.

mod counts;
mod money;
mod orders;
mod payments;
mod sales;
mod stock;
mod sums;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use domain::{
    Event, OrderId, PaymentId, Revision, StreamName, Timestamp, order::OrderEvent, payment::PaymentEvent,
};
use infra::{
    event_source::Partition,
    read_models::{
        Changes, CountKey, MoneyKey, MoneyTotals, ParkedStream, Progress, Projection, RowKeys, Rows,
        SalesKey, SalesTotals,
    },
};

use self::{orders::OrderFold, payments::PaymentFold, stock::StockFold, sums::SumsFold};
use crate::event::{DecodedEvent, Poison, guarded};

/// Rows, and the changes to them. A stream without a row counts as new. So pass every row that the events
/// touch ([`keys_of`]) to [`Fold::put_rows`] before the first [`Fold::apply`].
#[derive(Debug, Default)]
pub struct Fold {
    stock: StockFold,
    orders: OrderFold,
    payments: PaymentFold,
    sales: SumsFold<SalesKey, SalesTotals>,
    money: SumsFold<MoneyKey, MoneyTotals>,
    counts: SumsFold<CountKey, i64>,
    /// The partitions that the events come from.
    partitions: Arc<[Partition]>,
    /// The streams that are parked now.
    parked: HashSet<StreamName>,
    /// Streams whose events from a revision on wait for an operator, and are left out.
    held: HashMap<StreamName, Revision>,
    /// Streams that this fold has parked.
    newly_parked: Vec<ParkedStream>,
    /// Streams that were parked before, with events that this fold has skipped.
    skipped: HashSet<StreamName>,
    /// Keys of the rows that changed. `None` if the caller takes all rows.
    touched: Option<RowKeys>,
}

impl Fold {
    /// Folds batches of some partitions. [`Fold::into_changes`] gives the rows that changed.
    pub fn batches(partitions: Arc<[Partition]>, parked: HashSet<StreamName>) -> Self {
        Self { parked, touched: Some(RowKeys::default()), ..Self::whole_streams(partitions) }
    }

    /// Folds streams from their first events on. [`Fold::take_rows`] gives all rows.
    pub fn whole_streams(partitions: Arc<[Partition]>) -> Self {
        let length = partitions.len();
        let (sales, money, counts) = (SumsFold::of(length), SumsFold::of(length), SumsFold::of(length));
        Self { sales, money, counts, partitions, ..Self::default() }
    }

    /// Leaves out the events that the read models have not applied because their streams are parked.
    pub fn without_parked(self, parked: &[ParkedStream]) -> Self {
        let held = parked.iter().map(|row| (row.stream.clone(), row.revision)).collect();
        Self { held, ..self }
    }

    pub fn put_rows(&mut self, rows: Rows) {
        // Names every field, so new rows do not compile before this puts them. Loaded rows leave those empty
        // that a fold only adds to.
        let Rows {
            stock,
            reservations,
            reservations_closed: _,
            order_stock_events: _,
            orders,
            payments,
            sales: _,
            money: _,
            counts: _,
        } = rows;
        self.stock.put(stock, reservations);
        self.orders.put(orders);
        self.payments.put(payments);
    }

    /// Applies an event, or parks its stream. `source` is the index of the partition that the event came
    /// from.
    pub fn apply(&mut self, event: &DecodedEvent, source: usize) {
        if Projection::of_stream(&event.stream).is_none() {
            return;
        }
        if self.parked.contains(&event.stream) {
            let parked_here = self.newly_parked.iter().any(|parked| parked.stream == event.stream);
            if !parked_here {
                self.skipped.insert(event.stream.clone());
            }
            return;
        }
        let expected = self.revision(&event.stream).map_or(0, |revision| revision + 1);
        let is_held = self.held.get(&event.stream).is_some_and(|from| event.revision >= *from);
        if event.revision < expected || is_held {
            return;
        }
        let outcome = if event.revision > expected {
            Err(Poison::Gap { expected, found: event.revision })
        } else {
            guarded(|| self.apply_next(event, source))
        };
        if let Err(poison) = outcome {
            self.park(event, source, &poison);
        }
    }

    /// Parks the stream of an event. The event changes no row.
    pub fn park(&mut self, event: &DecodedEvent, source: usize, poison: &Poison) {
        let Some(projection) = Projection::of_stream(&event.stream) else { return };
        self.parked.insert(event.stream.clone());
        self.newly_parked.push(ParkedStream {
            projection,
            stream: event.stream.clone(),
            partition: self.partitions[source].clone(),
            event_id: event.id,
            revision: event.revision,
            position: event.position,
            reason: poison.to_string(),
            parked_at: Timestamp::now(),
        });
    }

    /// The revision that the row of a stream reflects.
    pub fn revision(&self, stream: &StreamName) -> Option<Revision> {
        match stream {
            StreamName::Stock(sku) => self.stock.revision(sku),
            StreamName::Order(id) => self.orders.get(*id).map(|row| row.revision),
            StreamName::Payment(id) => self.payments.get(*id).map(|row| row.revision),
            StreamName::Receipt(_) | StreamName::Exchange(_) => None,
        }
    }

    fn apply_next(&mut self, event: &DecodedEvent, source: usize) -> Result<(), Poison> {
        let data = event.event.as_ref().map_err(|error| Poison::Undecodable(error.clone()))?;
        match (&event.stream, data) {
            (StreamName::Stock(sku), Event::Stock(data)) => {
                self.stock.apply(sku, data, event, self.touched.as_mut())
            }
            (StreamName::Order(id), Event::Order(data)) => self.apply_order(*id, data, event, source),
            (StreamName::Payment(id), Event::Payment(data)) => self.apply_payment(*id, data, event, source),
            (
                StreamName::Stock(_)
                | StreamName::Order(_)
                | StreamName::Payment(_)
                | StreamName::Receipt(_)
                | StreamName::Exchange(_),
                _,
            ) => Err(Poison::Contradiction("it belongs to a stream of another kind".to_owned())),
        }
    }

    /// Changes the order and the sales, or neither. All that can panic runs before the first change.
    fn apply_order(
        &mut self,
        id: OrderId,
        data: &OrderEvent,
        event: &DecodedEvent,
        source: usize,
    ) -> Result<(), Poison> {
        let before = self.orders.get(id);
        let after = orders::fold(id, before.map(AsRef::as_ref), data, event)?;
        let sums = sales::fold(before.map(|row| &row.order), &after.order, data);
        self.orders.insert(Arc::new(after), self.touched.as_mut());
        self.counts.add(source, counts::sold(&sums));
        self.sales.add(source, sums);
        Ok(())
    }

    /// Changes the payment, the sums of money and the count of charges, or none of them.
    fn apply_payment(
        &mut self,
        id: PaymentId,
        data: &PaymentEvent,
        event: &DecodedEvent,
        source: usize,
    ) -> Result<(), Poison> {
        let before = self.payments.get(id);
        let after = payments::fold(id, before.map(AsRef::as_ref), data, event)?;
        let payment_before = before.map(|row| &row.payment);
        let moved = money::moved(payment_before, &after.payment, event.recorded_at);
        let answered = counts::answered(payment_before, &after.payment, data, event.recorded_at);
        self.payments.insert(Arc::new(after), self.touched.as_mut());
        self.money.add(source, moved);
        self.counts.add(source, answered);
        Ok(())
    }

    /// The changes of the batches, with the checkpoints that they move.
    pub fn into_changes(mut self, progress: Vec<Progress>) -> Changes {
        let touched = self.touched.take().unwrap_or_default();
        let mut changes = Changes::of(progress);
        self.stock.changed(&touched, &mut changes.rows);
        self.orders.changed(&touched, &mut changes.rows);
        self.payments.changed(&touched, &mut changes.rows);
        changes.rows.sales = self.sales.take_rows(&self.partitions);
        changes.rows.money = self.money.take_rows(&self.partitions);
        changes.rows.counts = self.counts.take_rows(&self.partitions);
        changes.parked = self.newly_parked;
        let of_projection = |stream| Projection::of_stream(&stream).map(|projection| (projection, stream));
        changes.skipped = self.skipped.into_iter().filter_map(of_projection).collect();
        changes.skipped.sort_unstable();
        changes
    }

    /// The rows of the streams folded so far, sorted by key. Later events must be of other streams.
    pub fn take_rows(&mut self) -> Rows {
        let mut rows = Rows::default();
        std::mem::take(&mut self.stock).all(&mut rows);
        std::mem::take(&mut self.orders).all(&mut rows);
        std::mem::take(&mut self.payments).all(&mut rows);
        rows.sales = self.sales.take_rows(&self.partitions);
        rows.money = self.money.take_rows(&self.partitions);
        rows.counts = self.counts.take_rows(&self.partitions);
        rows
    }

    /// The streams that this fold has parked.
    pub fn take_parked(&mut self) -> Vec<ParkedStream> {
        std::mem::take(&mut self.newly_parked)
    }
}

/// The key of the row of a stream.
pub fn key_of(stream: &StreamName) -> RowKeys {
    let mut keys = RowKeys::default();
    match stream {
        StreamName::Stock(sku) => _ = keys.stock.insert(sku.clone()),
        StreamName::Order(id) => _ = keys.orders.insert(*id),
        StreamName::Payment(id) => _ = keys.payments.insert(*id),
        StreamName::Receipt(_) | StreamName::Exchange(_) => {}
    }
    keys
}

/// Keys of the rows that must be put before `events` are applied.
pub fn keys_of<'a>(events: impl IntoIterator<Item = &'a DecodedEvent>) -> RowKeys {
    let mut keys = RowKeys::default();
    for event in events {
        match &event.stream {
            StreamName::Stock(sku) => stock::add_keys(sku, event, &mut keys),
            StreamName::Order(id) => _ = keys.orders.insert(*id),
            StreamName::Payment(id) => _ = keys.payments.insert(*id),
            StreamName::Receipt(_) | StreamName::Exchange(_) => {}
        }
    }
    keys
}
