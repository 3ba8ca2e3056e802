//! An order: what was bought, and whether it is reserved, paid, shipped and returned.
//!
//! Stream `order-{uuid}`. [`crate::checkout`] describes how stock and payments follow it. An order has three
//! statuses instead of one long enumeration: [`OrderStatus`] (placed, allocated, rejected, cancelled,
//! expired), [`PaymentStatus`] and [`FulfilmentStatus`]. The last two are computed from the state.

mod balance;
mod command;
mod credit;
mod decide;
mod event;
mod evolve;
mod leaving;
mod memory;
mod placing;
mod size;
mod state;
mod status;
mod tenders;
mod terms;

pub(crate) use decide::{new_order, units_by_sku};
pub(crate) use leaving::returned;

pub use command::{NewCancellation, NewLine, NewReturn, OrderCommand, PlaceOrder, ReturnLine};
pub use credit::CreditRecord;
pub use decide::OrderRefusal;
pub use event::{
    Adjustment, AllocatedTender, CancelReason, CancelledLine, LineAdjustment, LineAmount, LineQuantity,
    NewTender, OrderAllocated, OrderAuthorizationRecorded, OrderCancelled, OrderCreditTakenBack,
    OrderDelivered, OrderDueMoved, OrderEvent, OrderEventKind, OrderExpired, OrderLine, OrderLinesCancelled,
    OrderPaid, OrderPaymentAdded, OrderPaymentEnded, OrderPaymentRecorded, OrderPlaced, OrderRefund,
    OrderRefundRequested, OrderRejected, OrderReturned, OrderShipmentUndone, OrderShipped, ReturnedLine,
    Shortage, TenderEnding,
};
pub use placing::InvalidOrder;
pub use state::{CancellationRecord, Line, Order, OrderStateSummary, RefundRecord, ReturnRecord, Shipment};
pub use status::{FulfilmentStatus, OrderStatus, PaymentStatus};
pub use tenders::{Tender, TenderStatus, TenderSummary};

pub use crate::payment_terms::PaymentTerms;

use crate::{Decider, OrderId};

/// The most lines an order may have. The largest real order seen has 1,114.
pub const LINES_MAX: usize = 5_000;
/// The largest event of a new order, in bytes of JSON with its metadata. Events of orders that an earlier build
/// accepted may be larger.
pub const EVENT_BYTES_MAX: usize = 1_000_000;
/// The part of [`EVENT_BYTES_MAX`] that is for the metadata. An idempotency key has at most 255 characters.
pub const METADATA_BYTES_MAX: usize = 2_000;
/// The largest value of an order, and of the sum of its first lines and adjustments, in minor units: a hundred
/// billion euros. Orders that were stored before this limit may have up to [`crate::Amount::MAX`].
pub const ORDER_VALUE_MAX: i64 = 10_000_000_000_000;
/// The most units one line may have. The largest real line seen has 80,995.
pub const LINE_QUANTITY_MAX: u32 = 1_000_000;
/// The most adjustments (tax, shipping, discounts) an order may have, besides those of its lines.
pub const ADJUSTMENTS_MAX: usize = 100;
/// The most adjustments one line may have.
pub const LINE_ADJUSTMENTS_MAX: usize = 10;
/// The most entries that the metadata of an order may have.
pub const METADATA_ENTRIES_MAX: usize = 50;
/// The most shipments, and the most returns, that one order may have. A refund without a return is refused
/// once the order has twice as many refunds.
pub const PARTS_MAX: usize = 1_000;

/// The most payments an order may have.
pub const PAYMENTS_MAX: usize = 50;

/// The order aggregate.
#[derive(Debug)]
pub struct OrderDecider;

impl Decider for OrderDecider {
    const NAME: &'static str = "order";

    type Id = OrderId;
    type State = Order;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Refusal = OrderRefusal;
    type Summary = OrderStateSummary;

    fn evolve(state: &mut Order, event: &OrderEvent) {
        evolve::evolve(state, event);
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

    fn is_identified_by_content(command_name: &str) -> bool {
        command_name == OrderCommand::PLACE
    }

    fn heap_bytes(state: &Order) -> usize {
        state.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
