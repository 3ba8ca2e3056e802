//! Orders. Each row is the state that the domain folds from the order's stream.

use std::{collections::HashMap, sync::Arc};

use domain::{Decider, OrderId, order::OrderDecider, order::OrderEvent};
use infra::read_models::{OrderRow, RowKeys, Rows};

use crate::event::{DecodedEvent, Poison};

#[derive(Debug, Default)]
pub(super) struct OrderFold(HashMap<OrderId, Arc<OrderRow>>);

impl OrderFold {
    pub(super) fn put(&mut self, rows: Vec<Arc<OrderRow>>) {
        self.0.extend(rows.into_iter().map(|row| (row.order_id, row)));
    }

    pub(super) fn get(&self, id: OrderId) -> Option<&Arc<OrderRow>> {
        self.0.get(&id)
    }

    pub(super) fn insert(&mut self, row: Arc<OrderRow>, touched: Option<&mut RowKeys>) {
        if let Some(touched) = touched {
            touched.orders.insert(row.order_id);
        }
        self.0.insert(row.order_id, row);
    }

    pub(super) fn changed(mut self, touched: &RowKeys, rows: &mut Rows) {
        rows.orders = touched.orders.iter().filter_map(|id| self.0.remove(id)).collect();
    }

    pub(super) fn all(self, rows: &mut Rows) {
        rows.orders = self.0.into_values().collect();
        rows.orders.sort_unstable_by_key(|row| row.order_id);
    }
}

pub(super) fn fold(
    id: OrderId,
    row: Option<&OrderRow>,
    data: &OrderEvent,
    event: &DecodedEvent,
) -> Result<OrderRow, Poison> {
    // Folds a copy: a panic in the middle must not leave half an event in the row.
    let mut order = row.map(|row| row.order.clone()).unwrap_or_default();
    OrderDecider::evolve(&mut order, data);
    if order.order_id() != Some(id) {
        return Err(Poison::Contradiction("the stream does not begin with its own order".to_owned()));
    }
    let mut times = row.map(|row| row.times.clone()).unwrap_or_default();
    times.add(&order, event.recorded_at);
    Ok(OrderRow {
        times,
        order_id: id,
        revision: event.revision,
        recorded_at: row.map_or(event.recorded_at, |row| row.recorded_at),
        updated_at: event.recorded_at,
        order,
    })
}
