//! Reserves the stock of a placed order, so that orders compete fairly.
//!
//! An order that cannot be filled takes no stock from others: it looks at all levels first. Orders that compete
//! for the last units of several SKUs reserve them in the same sequence. So the order that gets the first SKU
//! meets no competitor at the next, and one of them wins.

use domain::{
    Sku,
    order::Shortage,
    stock::{StockCommand, StockDecider, StockRefusal},
};
use futures::future::join_all;

use super::{
    Checkout,
    placing::{PlacedOrder, reaction},
};
use crate::executor::{ExecuteError, Executed, Flow, Outcome};

/// A SKU is contested while it has fewer units than this many orders like the present one take. If more orders
/// than that compete at the same moment, all of them may miss the last units.
const CONTESTING_ORDERS: u32 = 16;

/// What a round of reservations did.
#[derive(Default)]
pub(super) struct Reserved {
    /// The SKUs that the order holds.
    pub held: Vec<Sku>,
    /// The SKUs that are short. If there is none, the order holds all its SKUs.
    pub shortages: Vec<Shortage>,
}

impl Checkout {
    /// Reserves the units of every SKU; stops at the first shortage.
    pub(super) async fn reserve(&self, order: PlacedOrder<'_>, flow: Flow) -> Result<Reserved, ExecuteError> {
        let mut reserved = Reserved::default();
        let (mut contested, mut others) = (Vec::new(), Vec::new());
        // With a single SKU, the reservation itself is the look at the level.
        if order.units.len() > 1 {
            let checking = order.units.keys().map(|sku| self.check(order, sku, flow));
            for (sku, checked) in order.units.keys().zip(join_all(checking).await) {
                match checked? {
                    Level::Short(shortage) => reserved.shortages.push(shortage),
                    Level::Contested => contested.push(sku),
                    Level::Enough => others.push(sku),
                }
            }
        } else {
            contested.extend(order.units.keys());
        }
        for sku in contested {
            if !reserved.shortages.is_empty() {
                return Ok(reserved);
            }
            let outcome = self.reserve_one(order, sku, flow).await?;
            reserved.add(sku, outcome);
        }
        if reserved.shortages.is_empty() {
            let reserving = others.iter().map(|sku| self.reserve_one(order, sku, flow));
            for (sku, outcome) in others.iter().zip(join_all(reserving).await) {
                reserved.add(sku, outcome?);
            }
        }
        Ok(reserved)
    }

    /// Looks at the level of a SKU, which may be of events that are not durable yet.
    async fn check(&self, order: PlacedOrder<'_>, sku: &Sku, flow: Flow) -> Result<Level, ExecuteError> {
        let quantity = order.units[sku];
        let command = StockCommand::CheckReserve { order_id: order.id, quantity };
        let executed = self.send_to_stock(order, sku, command, flow).await?;
        let available = executed.summary.available();
        Ok(match shortage(order, sku, executed) {
            Some(shortage) => Level::Short(shortage),
            // Such a store answers before the append is durable, so waiting for each SKU costs no time.
            None if self.store().accepts_dependent_appends() => Level::Contested,
            None if available < quantity.saturating_mul(CONTESTING_ORDERS) => Level::Contested,
            None => Level::Enough,
        })
    }

    async fn reserve_one(
        &self,
        order: PlacedOrder<'_>,
        sku: &Sku,
        flow: Flow,
    ) -> Result<Option<Shortage>, ExecuteError> {
        let command = StockCommand::Reserve { order_id: order.id, quantity: order.units[sku] };
        Ok(shortage(order, sku, self.send_to_stock(order, sku, command, flow).await?))
    }

    async fn send_to_stock(
        &self,
        order: PlacedOrder<'_>,
        sku: &Sku,
        command: StockCommand,
        flow: Flow,
    ) -> Result<Executed<StockDecider>, ExecuteError> {
        let context = reaction::<StockDecider>(sku, &command, order.placed, order.correlation_id);
        self.stock.submit_in(flow, sku, command, context).await
    }
}

/// The level of a SKU, compared with what an order asks.
enum Level {
    Short(Shortage),
    /// Enough for this order, but not for many like it.
    Contested,
    Enough,
}

impl Reserved {
    fn add(&mut self, sku: &Sku, outcome: Option<Shortage>) {
        match outcome {
            Some(shortage) => self.shortages.push(shortage),
            None => self.held.push(sku.clone()),
        }
    }
}

fn shortage(order: PlacedOrder<'_>, sku: &Sku, executed: Executed<StockDecider>) -> Option<Shortage> {
    let available = executed.summary.available();
    match executed.outcome {
        Outcome::Refused(StockRefusal::Insufficient { requested, available }) => {
            Some(Shortage { sku: sku.clone(), requested, available })
        }
        Outcome::Refused(refusal) => {
            tracing::error!(order.id = %order.id, stock.sku = %sku, %refusal,
                "A reservation was refused unexpectedly; it counts as a shortage");
            Some(Shortage { sku: sku.clone(), requested: order.units[sku], available })
        }
        Outcome::Recorded
        | Outcome::Unchanged
        | Outcome::Duplicate { .. }
        | Outcome::KeyReused
        | Outcome::PreconditionFailed => None,
    }
}
