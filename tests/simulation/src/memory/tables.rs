//! The tables of the read models, and the commits that change them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use infra::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    read_models::{
        Changes, CountKey, Generation, MoneyKey, MoneyTotals, OrderRow, OrderStockEvent, ParkedStream,
        PartitionSums, PaymentRow, Projection, ReadModelError, ReservationRow, RowKeys, Rows, SalesKey,
        SalesTotals, StockRow, Totals,
    },
};
use uuid::Uuid;

use crate::invariants::FoldedRows;

/// Every row. A clone is the view of one transaction.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub(super) bound: Option<Uuid>,
    pub(super) checkpoints: BTreeMap<(&'static str, Partition), Checkpoint>,
    pub stock: BTreeMap<Sku, StockRow>,
    pub reservations: BTreeMap<(Sku, OrderId), ReservationRow>,
    pub orders: BTreeMap<OrderId, Arc<OrderRow>>,
    pub payments: BTreeMap<PaymentId, Arc<PaymentRow>>,
    /// Payments in the order of their first commit.
    pub(super) arrivals: Vec<PaymentId>,
    pub sales: Sums<SalesKey, SalesTotals>,
    pub money: Sums<MoneyKey, MoneyTotals>,
    pub counts: Sums<CountKey, i64>,
    pub order_stock_events: BTreeSet<OrderStockEvent>,
    /// The flag says whether a retry was requested.
    pub parked: BTreeMap<(Projection, StreamName), (ParkedStream, bool)>,
}

/// Sums by partition and key.
type Sums<K, T> = BTreeMap<Partition, BTreeMap<K, T>>;

fn add_sums<K: Ord, T: Totals>(stored: &mut Sums<K, T>, added: Vec<PartitionSums<K, T>>) {
    for PartitionSums { partition, sums } in added {
        let stored = stored.entry(partition).or_default();
        for (key, sum) in sums {
            stored.entry(key).or_default().add(&sum);
        }
    }
}

/// Sums over all partitions.
fn sums_in_all<K: Clone + Ord, T: Totals>(stored: &Sums<K, T>) -> BTreeMap<K, T> {
    let mut sums: BTreeMap<K, T> = BTreeMap::new();
    for (key, sum) in stored.values().flatten() {
        sums.entry(key.clone()).or_default().add(sum);
    }
    sums
}

#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    pub(super) position: Option<Position>,
    pub(super) last_event: Option<EventMark>,
    pub(super) updated_at: Timestamp,
}

impl Tables {
    /// The tables after a rebuild: the rows and parked streams of a whole log, and the checkpoint `from`. If `from` is before
    /// the end of the log, events that the rows already contain are delivered again.
    pub fn rebuilt(all: FoldedRows, from: Option<Position>, now: Timestamp) -> Self {
        let partition = Partition::whole_log();
        let checkpoint = Checkpoint { position: from, last_event: all.last_event, updated_at: now };
        let checkpoints = Projection::ALL.map(|one| ((one.as_str(), partition.clone()), checkpoint.clone()));
        let mut tables =
            Self { bound: Some(all.store_id), checkpoints: checkpoints.into(), ..Self::default() };
        tables.write(all.rows);
        let parked = all.parked.into_iter().map(|row| ((row.projection, row.stream.clone()), (row, false)));
        tables.parked.extend(parked);
        tables
    }

    /// Constant: the simulation never rebuilds while projectors run.
    pub(super) fn generation() -> Generation {
        Generation(0)
    }

    pub fn checkpoint(&self, partition: &Partition) -> Option<Reached> {
        let projection = Projection::fed_by(partition)[0].as_str();
        let row = self.checkpoints.get(&(projection, partition.clone()))?;
        row.position.map(|position| Reached { position, last_event: row.last_event.clone() })
    }

    pub(super) fn load(&self, keys: &RowKeys) -> Rows {
        Rows {
            stock: keys.stock.iter().filter_map(|sku| self.stock.get(sku).cloned()).collect(),
            reservations: keys
                .reservations
                .iter()
                .filter_map(|key| self.reservations.get(key).cloned())
                .collect(),
            orders: keys.orders.iter().filter_map(|id| self.orders.get(id).cloned()).collect(),
            payments: keys.payments.iter().filter_map(|id| self.payments.get(id).cloned()).collect(),
            ..Rows::default()
        }
    }

    /// Writes all changes or none. `refuses`: true for a stream whose rows are refused.
    pub(super) fn commit(
        &mut self,
        changes: Changes,
        now: Timestamp,
        refuses: impl Fn(&StreamName) -> bool,
    ) -> Result<(), ReadModelError> {
        self.rehearse(&changes, refuses)?;
        for progress in &changes.progress {
            for projection in progress.projections() {
                let key = (projection.as_str(), progress.partition.clone());
                let earlier = self.checkpoints.get(&key).and_then(|row| row.last_event.clone());
                let both = earlier.into_iter().chain(progress.last_event.clone());
                let last_event = both.max_by_key(|event| event.position);
                let row = Checkpoint { position: progress.to, last_event, updated_at: now };
                self.checkpoints.insert(key, row);
            }
        }
        for row in changes.retried {
            self.parked.remove(&(row.projection, row.stream));
        }
        for row in changes.parked {
            self.parked.insert((row.projection, row.stream.clone()), (row, false));
        }
        self.write(changes.rows);
        Ok(())
    }

    /// Fails as [`Tables::commit`] does, and changes nothing.
    pub(super) fn rehearse(
        &self,
        changes: &Changes,
        refuses: impl Fn(&StreamName) -> bool,
    ) -> Result<(), ReadModelError> {
        self.check(changes)?;
        match changes.rows.streams().find(|stream| refuses(stream)) {
            None => Ok(()),
            Some(stream) => {
                Err(ReadModelError::Row(format!("the simulation refuses the row of {stream}").into()))
            }
        }
    }

    /// Does as an operator does who has repaired the cause for these streams.
    pub fn request_retries(&mut self, is_repaired: impl Fn(&StreamName) -> bool) {
        for (row, retry_requested) in self.parked.values_mut() {
            *retry_requested |= is_repaired(&row.stream);
        }
    }

    fn write(&mut self, rows: Rows) {
        // Names every field, so new rows do not compile before they are written.
        let Rows {
            stock,
            reservations,
            reservations_closed,
            order_stock_events,
            orders,
            payments,
            sales,
            money,
            counts,
        } = rows;
        self.stock.extend(stock.into_iter().map(|row| (row.sku.clone(), row)));
        for key in &reservations_closed {
            self.reservations.remove(key);
        }
        let opened = reservations.into_iter();
        self.reservations.extend(opened.map(|row| ((row.sku.clone(), row.order_id), row)));
        self.orders.extend(orders.into_iter().map(|row| (row.order_id, row)));
        for row in payments {
            if self.payments.insert(row.payment_id, Arc::clone(&row)).is_none() {
                self.arrivals.push(row.payment_id);
            }
        }
        self.order_stock_events.extend(order_stock_events);
        add_sums(&mut self.sales, sales);
        add_sums(&mut self.money, money);
        add_sums(&mut self.counts, counts);
    }

    fn check(&self, changes: &Changes) -> Result<(), ReadModelError> {
        let same_generation = changes.generation.is_none_or(|known| known == Self::generation());
        let unmoved = changes.progress.iter().all(|progress| {
            progress.projections().iter().all(|projection| {
                let key = (projection.as_str(), progress.partition.clone());
                self.checkpoints.get(&key).and_then(|row| row.position) == progress.from
            })
        });
        let skipped_are_parked = changes.skipped.iter().all(|key| self.parked.contains_key(key));
        let retried_as_read = changes.retried.iter().all(|row| {
            let parked = self.parked.get(&(row.projection, row.stream.clone()));
            parked.is_some_and(|(parked, retry_requested)| {
                *retry_requested && parked.revision == row.revision && parked.parked_at == row.parked_at
            })
        });
        if same_generation && unmoved && skipped_are_parked && retried_as_read {
            Ok(())
        } else {
            Err(ReadModelError::CheckpointMoved)
        }
    }

    pub(super) fn is_ended(&self, order: OrderId) -> bool {
        self.orders.get(&order).is_some_and(|row| row.order.status().is_final())
    }

    pub fn sales_in_all(&self) -> BTreeMap<SalesKey, SalesTotals> {
        sums_in_all(&self.sales)
    }

    pub fn money_in_all(&self) -> BTreeMap<MoneyKey, MoneyTotals> {
        sums_in_all(&self.money)
    }

    pub fn counts_in_all(&self) -> BTreeMap<CountKey, i64> {
        sums_in_all(&self.counts)
    }

    pub(super) fn ended_orders_with_reservations(&self) -> BTreeSet<OrderId> {
        let held = self.reservations.keys().map(|(_, order)| *order);
        held.filter(|order| self.is_ended(*order)).collect()
    }
}
