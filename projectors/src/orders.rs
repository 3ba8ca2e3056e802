//! Orders, each the state that the domain folds from its stream.

use domain::{Decider, OrderId, order::OrderDecider, order::OrderEvent};
use infra::read_models::OrderRow;

use crate::fold::{Decoded, Poison, guarded};

pub(crate) fn fold(
    id: OrderId,
    row: Option<&OrderRow>,
    data: &OrderEvent,
    event: &Decoded,
) -> Result<OrderRow, Poison> {
    // Folded on a copy: a panic half-way must not leave half an event in the row.
    let mut order = row.map(|row| row.order.clone()).unwrap_or_default();
    guarded(|| OrderDecider::evolve(&mut order, data))?;
    if order.order_id() != Some(id) {
        return Err(Poison::Contradiction("the stream does not begin with its own order".to_owned()));
    }
    Ok(OrderRow {
        order_id: id,
        revision: event.revision,
        recorded_at: row.map_or(event.recorded_at, |row| row.recorded_at),
        updated_at: event.recorded_at,
        order,
    })
}
