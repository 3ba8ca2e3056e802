//! An order: what was bought, and whether it is reserved, paid, shipped and returned.
//!
//! Stream `order-{uuid}`. [`crate::checkout`] describes how stock and payments follow it. An order has three
//! statuses instead of one long enumeration: [`OrderStatus`] (placed, allocated, rejected, cancelled,
//! expired), [`PaymentStatus`] and [`FulfilmentStatus`]. The last two are computed from the state.

mod command;
mod decide;
mod event;
mod memory;
mod state;
mod status;

pub(crate) use decide::units_by_sku;

pub use command::{NewLine, NewReturn, OrderCommand, PlaceOrder};
pub use decide::{InvalidOrder, OrderRefusal};
pub use event::{
    Adjustment, CancelReason, LineQuantity, OrderAllocated, OrderCancelled, OrderDelivered, OrderEvent,
    OrderEventKind, OrderExpired, OrderLine, OrderPaid, OrderPaymentRecorded, OrderPlaced,
    OrderRefundRequested, OrderRejected, OrderReturned, OrderShipped, ReturnLine, Shortage,
};
pub use state::{Line, Order, OrderStateSummary, RefundRecord, ReturnRecord, Shipment};
pub use status::{FulfilmentStatus, OrderStatus, PaymentStatus};

use crate::{Decider, OrderId};

/// The most lines an order may have. The largest real order seen has 1,114.
pub const LINES_MAX: usize = 5_000;
/// The largest value of an order, and of the sum of its first lines and adjustments, in minor units: a hundred
/// billion euros. Orders that were stored before this limit may have up to [`crate::Amount::MAX`].
pub const ORDER_VALUE_MAX: i64 = 10_000_000_000_000;
/// The most units one line may have. The largest real line seen has 80,995.
pub const LINE_QUANTITY_MAX: u32 = 1_000_000;
/// The most adjustments (tax, shipping, discounts) an order may have.
pub const ADJUSTMENTS_MAX: usize = 100;
/// The most entries that the metadata of an order may have.
pub const METADATA_ENTRIES_MAX: usize = 50;
/// The most shipments, and the most returns, that one order may have. A refund without a return is refused
/// once the order has twice as many refunds.
pub const PARTS_MAX: usize = 1_000;

/// The order aggregate.
#[derive(Debug)]
pub struct OrderDecider;

impl Decider for OrderDecider {
    type Id = OrderId;
    type State = Order;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Refusal = OrderRefusal;
    type Summary = OrderStateSummary;

    fn evolve(state: &mut Order, event: &OrderEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Order, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRefusal> {
        decide::decide(state, command)
    }

    fn summary(state: &Order) -> OrderStateSummary {
        state.summary()
    }

    fn command_name(command: &OrderCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(_command_name: &str) -> bool {
        true
    }

    fn heap_bytes(state: &Order) -> usize {
        state.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
