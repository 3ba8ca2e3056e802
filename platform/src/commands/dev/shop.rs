//! The history of a made-up shop, of any length: orders in every state, one customer with a tenth of them, and one
//! SKU in a fifth of them. The same number of an order gives the same order.

use std::collections::BTreeMap;

use domain::{
    Amount, CancellationId, CommandId, ReturnId, ShipmentId, Sku, Timestamp,
    order::{
        CancelReason, LineQuantity, NewCancellation, NewLine, NewReturn, OrderCommand, PaymentTerms,
        PlaceOrder, ReturnLine,
    },
    payment::{CaptureMode, NewCharge, Operation, PaymentCommand, RefundState},
};
use fastrand::Rng;
use jiff::SignedDuration;

use crate::commands::history::{History, Sale};

/// So a longer history has more days, and not busier ones.
const ORDER_EVERY: SignedDuration = SignedDuration::from_secs(30);
const SKUS: u32 = 1_000;
const UNITS_PER_SKU: u32 = 100_000_000;
const HOT_SKU: &str = "HOT";
/// Never received.
const SOLD_OUT: &str = "SOLD-OUT";
const LARGEST_CUSTOMER: &str = "largest-customer";
const COUNTRIES: [&str; 6] =
    ["United Kingdom", "United Kingdom", "United Kingdom", "Germany", "France", "Malta"];
/// From the order to the time at which its payment is due.
const DUE_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The last state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Its stock is not reserved yet.
    Placed,
    Rejected,
    /// It expires, or still waits for its payment.
    Unpaid,
    Cancelled,
    CancelledAndRefunded,
    /// It was cancelled, and then its money arrived.
    Overpaid,
    /// Its payment was declined, and can be tried again.
    Declined,
    /// The provider has not answered.
    Stuck,
    OutcomeUnknown,
    /// Under the terms `net`: shipped, and not paid.
    Net,
    /// Under the terms `on_shipment`: authorized, and not shipped.
    OnShipment,
    PartiallyPaid,
    Paid,
    PartiallyShipped,
    PartiallyDelivered,
    Shipped,
    Delivered,
    /// A unit came back, and its refund is not paid out.
    RefundDue,
    PartiallyReturned,
    Returned,
}

impl Fate {
    /// Of ten thousand orders.
    const SHARES: [(Self, u32); 19] = [
        (Self::Rejected, 150),
        (Self::Unpaid, 250),
        (Self::Cancelled, 100),
        (Self::CancelledAndRefunded, 100),
        (Self::Declined, 200),
        (Self::Stuck, 2),
        (Self::OutcomeUnknown, 2),
        (Self::Net, 300),
        (Self::OnShipment, 100),
        (Self::PartiallyPaid, 50),
        (Self::Paid, 300),
        (Self::PartiallyShipped, 100),
        (Self::PartiallyDelivered, 50),
        (Self::Shipped, 600),
        (Self::Overpaid, 50),
        (Self::RefundDue, 150),
        (Self::PartiallyReturned, 200),
        (Self::Returned, 200),
        (Self::Delivered, 7_096),
    ];

    fn of(rng: &mut Rng, number: u64, orders: u64) -> Self {
        // The latest orders have just arrived.
        if orders - number <= 3 {
            return Self::Placed;
        }
        let mut share = rng.u32(0..10_000);
        for (fate, of_all) in Self::SHARES {
            if share < of_all {
                return fate;
            }
            share -= of_all;
        }
        Self::Delivered
    }

    fn terms(self) -> PaymentTerms {
        match self {
            Self::Net => PaymentTerms::Net,
            Self::OnShipment => PaymentTerms::OnShipment,
            Self::Placed
            | Self::Rejected
            | Self::Unpaid
            | Self::Cancelled
            | Self::CancelledAndRefunded
            | Self::Declined
            | Self::Stuck
            | Self::OutcomeUnknown
            | Self::PartiallyPaid
            | Self::Paid
            | Self::PartiallyShipped
            | Self::PartiallyDelivered
            | Self::Shipped
            | Self::Delivered
            | Self::Overpaid
            | Self::RefundDue
            | Self::PartiallyReturned
            | Self::Returned => PaymentTerms::Prepaid,
        }
    }
}

/// A shop whose last order was placed at `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shop {
    pub orders: u64,
    pub end: Timestamp,
}

impl Shop {
    /// When order `number` is placed.
    pub fn placed_at(&self, number: u64) -> Timestamp {
        let later = i32::try_from(self.orders - number).expect("a history has fewer than 2^31 orders");
        self.end - ORDER_EVERY * later
    }

    pub fn receive_stock(history: &mut History<'_>) {
        for name in (0..SKUS).map(sku_name).chain([HOT_SKU.to_owned()]) {
            history.receive(&sku(&name), UNITS_PER_SKU);
        }
    }

    /// Adds all events of an order.
    pub fn add_order(&self, history: &mut History<'_>, number: u64) {
        let mut rng = Rng::with_seed(number);
        let fate = Fate::of(&mut rng, number, self.orders);
        let mut sale = Sale::new(format!("shop {number}"));
        let place = OrderCommand::Place(Box::new(self.new_order(&mut rng, &sale, number, fate)));
        if fate == Fate::Placed {
            history.order_alone(&mut sale, place);
            return;
        }
        history.order(&mut sale, place);
        self.pay(history, &mut sale, number, fate);
        self.fulfil(history, &mut sale, number, fate);
    }

    fn new_order(&self, rng: &mut Rng, sale: &Sale, number: u64, fate: Fate) -> PlaceOrder {
        let placed_at = self.placed_at(number);
        let of_provider = matches!(fate, Fate::Stuck | Fate::OutcomeUnknown);
        let charge = NewCharge {
            provider: "sandbox".to_owned(),
            method: "ok".to_owned(),
            capture: CaptureMode::Automatic,
        };
        let customer = match rng.u32(0..10) {
            0 => Some(LARGEST_CUSTOMER.to_owned()),
            1 | 2 => None,
            _ => Some(format!("customer-{}", rng.u64(0..=self.orders / 10))),
        };
        let never_due = matches!(fate, Fate::Declined | Fate::Stuck | Fate::OutcomeUnknown);
        PlaceOrder {
            order_id: sale.order_id,
            customer_id: customer,
            currency: if rng.u32(0..5) == 0 { "EUR" } else { "GBP" }.parse().expect("the currency is valid"),
            country: rng.choice(COUNTRIES).map(str::to_owned),
            lines: lines(rng, fate),
            adjustments: Vec::new(),
            prices_include_tax: false,
            reference: Some(format!("WEB-{number}")),
            metadata: BTreeMap::new(),
            placed_at,
            now: placed_at,
            payment_due_at: (!never_due).then(|| placed_at + DUE_AFTER),
            terms: fate.terms(),
            captures_in_parts: true,
            payment: of_provider.then_some(charge),
            payments: Vec::new(),
        }
    }

    fn pay(&self, history: &mut History<'_>, sale: &mut Sale, number: u64, fate: Fate) {
        let reference = Some(format!("ch_{number}"));
        match fate {
            Fate::Placed | Fate::Rejected | Fate::Stuck | Fate::Net => {}
            Fate::Unpaid => {
                let due_at = self.placed_at(number) + DUE_AFTER;
                if due_at < self.end {
                    history.order(sale, OrderCommand::Expire { now: due_at });
                }
            }
            Fate::Cancelled => cancel(history, sale),
            Fate::Overpaid => {
                cancel(history, sale);
                let amount = Some(Amount::new(50).expect("the amount is small"));
                history.payment(sale, PaymentCommand::Capture { amount, reference });
            }
            Fate::Declined => {
                let reason = Some("card_declined: The card was declined.".to_owned());
                history.payment(sale, PaymentCommand::Fail { reason, retryable: true });
            }
            Fate::OutcomeUnknown => {
                let operation = Operation::Authorize;
                history.payment(sale, PaymentCommand::MarkOutcomeUnknown { operation });
            }
            Fate::OnShipment => {
                history.payment(sale, PaymentCommand::Authorize { amount: None, reference });
            }
            Fate::PartiallyPaid => {
                let amount = Some(Amount::new(50).expect("the amount is small"));
                history.payment(sale, PaymentCommand::Authorize { amount, reference: reference.clone() });
                history.payment(sale, PaymentCommand::Capture { amount, reference });
            }
            Fate::CancelledAndRefunded
            | Fate::Paid
            | Fate::PartiallyShipped
            | Fate::PartiallyDelivered
            | Fate::Shipped
            | Fate::Delivered
            | Fate::RefundDue
            | Fate::PartiallyReturned
            | Fate::Returned => {
                let amount = None;
                history.payment(sale, PaymentCommand::Authorize { amount, reference: reference.clone() });
                history.payment(sale, PaymentCommand::Capture { amount, reference });
            }
        }
    }

    fn fulfil(&self, history: &mut History<'_>, sale: &mut Sale, number: u64, fate: Fate) {
        if fate == Fate::CancelledAndRefunded {
            cancel(history, sale);
            pay_out_refunds(history, sale);
        }
        if fate < Fate::PartiallyShipped && fate != Fate::Net {
            return;
        }
        let shipment_id = ShipmentId::of_command(CommandId(sale.order_id.0));
        let first_unit = || vec![LineQuantity { line: 1, quantity: 1 }];
        history.order(
            sale,
            OrderCommand::Ship {
                shipment_id,
                lines: matches!(fate, Fate::PartiallyShipped | Fate::PartiallyDelivered).then(first_unit),
                carrier: Some("Royal Mail".to_owned()),
                tracking_number: None,
                now: self.placed_at(number),
            },
        );
        if fate >= Fate::Delivered || fate == Fate::PartiallyDelivered {
            history.order(sale, OrderCommand::Deliver { shipment_id });
        }
        let lines = match fate {
            Fate::RefundDue | Fate::PartiallyReturned => first_unit(),
            Fate::Returned => all_units(sale),
            _ => return,
        };
        let lines = lines.into_iter();
        let lines = lines.map(|LineQuantity { line, quantity }| ReturnLine { line, quantity, restock: true });
        let return_id = ReturnId::of_command(CommandId(sale.order_id.0));
        let reason = Some("does not fit".to_owned());
        let new_return = NewReturn { return_id, lines: lines.collect(), refund_amount: None, reason };
        history.order(sale, OrderCommand::Return(new_return));
        if fate != Fate::RefundDue {
            pay_out_refunds(history, sale);
        }
    }
}

/// Mostly one line, at most four. The first line has two units or more.
fn lines(rng: &mut Rng, fate: Fate) -> Vec<NewLine> {
    let first = rng.u32(0..SKUS);
    let further = match rng.u32(0..10) {
        0..7 => 0,
        7 | 8 => 1,
        _ => 3,
    };
    let mut names: Vec<String> = (0..=further).map(|line| sku_name(first + line * 131)).collect();
    if rng.u32(0..5) == 0 {
        HOT_SKU.clone_into(&mut names[0]);
    }
    if fate == Fate::Rejected {
        names.push(SOLD_OUT.to_owned());
    }
    let line = |name: String| NewLine {
        sku: sku(&name),
        quantity: rng.u32(2..6),
        unit_price: Amount::new(rng.i64(100..10_000)).expect("the amount is small"),
        stocked: true,
        adjustments: Vec::new(),
    };
    names.into_iter().map(line).collect()
}

fn cancel(history: &mut History<'_>, sale: &mut Sale) {
    let id = CancellationId::of_command(CommandId(sale.order_id.0));
    let cancellation = NewCancellation::of_the_rest(id, CancelReason::Requested);
    history.order(sale, OrderCommand::Cancel(cancellation));
}

fn pay_out_refunds(history: &mut History<'_>, sale: &mut Sale) {
    let open = sale.payment.state.refunds().iter().filter(|refund| refund.state == RefundState::Requested);
    let open: Vec<_> = open.map(|refund| refund.refund_id).collect();
    for refund_id in open {
        history.payment(sale, PaymentCommand::RecordRefunded { refund_id, reference: None });
    }
}

fn all_units(sale: &Sale) -> Vec<LineQuantity> {
    let lines = (1..).zip(sale.order.state.lines());
    lines.map(|(line, of_order)| LineQuantity { line, quantity: of_order.quantity }).collect()
}

fn sku_name(number: u32) -> String {
    format!("SKU-{:04}", number % SKUS)
}

fn sku(name: &str) -> Sku {
    Sku::new(name).expect("the SKU is valid")
}
