//! Requests of clients: as HTTP, and as the command that the domain decides.

use std::fmt::Write;

use domain::{
    Amount, CancellationId, CommandId, ExchangeId, OrderId, PaymentId, ReceiptId, RefundId, ReturnId,
    ShipmentId, Sku, StreamName, Timestamp,
    order::{CancelReason, LineQuantity, NewCancellation, NewReturn, OrderCommand, ReturnLine},
    payment::{NewCharge, PaymentCommand},
    stock::StockCommand,
};
use http::StatusCode;
use serde_json::{Value, json};

/// A request with its idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub key: String,
    pub action: Action,
    /// The only revision of its stream at which the request may be executed. `None`: any.
    pub if_revision: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Receive { sku: Sku, quantity: u32 },
    ReceiveMany { items: Vec<(Sku, u32)> },
    Adjust { sku: Sku, delta: i64 },
    Place { body: Value, respond_async: bool },
    Ship { order: OrderId, lines: Option<Vec<LineQuantity>> },
    Deliver { order: OrderId, shipment: ShipmentId },
    Return { order: OrderId, lines: Vec<ReturnLine>, refund_amount: Option<i64> },
    Exchange { order: OrderId, lines: Vec<ReturnLine>, body: Value },
    Refund { order: OrderId, amount: i64 },
    AddPayment { order: OrderId, amount: Option<i64> },
    Cancel { order: OrderId, lines: Option<Vec<LineQuantity>> },
    Charge { payment: PaymentId, charge: NewCharge },
    Authorize { payment: PaymentId, amount: Option<i64> },
    Capture { payment: PaymentId, amount: Option<i64> },
    Fail { payment: PaymentId, retryable: bool },
    Void { payment: PaymentId },
    Refunded { payment: PaymentId, refund: RefundId },
    RefundFailed { payment: PaymentId, refund: RefundId },
}

/// An answer of the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub replayed: bool,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    /// True if the client must send the request again.
    pub fn is_temporary(&self) -> bool {
        matches!(self.code(), "overloaded" | "busy" | "unavailable" | "outcome_unknown" | "conflict")
    }
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap_or(Amount::ZERO)
}

impl Request {
    pub fn new(key: String, action: Action) -> Self {
        Self { key, action, if_revision: None }
    }

    pub fn command_id(&self) -> CommandId {
        CommandId::of_request("anonymous", "POST", &self.path(), &self.key)
    }

    /// True if the request places an order with a line of this SKU.
    pub fn has_line_of(&self, sku: &str) -> bool {
        let Action::Place { body, .. } = &self.action else { return false };
        body["lines"].as_array().into_iter().flatten().any(|line| line["sku"] == sku)
    }

    /// The unique name of the request: its path and key.
    pub fn name(&self) -> String {
        format!("{} {}", self.path(), self.key)
    }

    pub fn path(&self) -> String {
        match &self.action {
            Action::Receive { sku, .. } => format!("/v1/stock/{sku}/receipts"),
            Action::ReceiveMany { .. } => "/v1/stock/receipts".to_owned(),
            Action::Adjust { sku, .. } => format!("/v1/stock/{sku}/adjustments"),
            Action::Place { .. } => "/v1/orders".to_owned(),
            Action::Ship { order, .. } => format!("/v1/orders/{order}/shipments"),
            Action::Deliver { order, .. } => format!("/v1/orders/{order}/deliveries"),
            Action::Return { order, .. } => format!("/v1/orders/{order}/returns"),
            Action::Exchange { order, .. } => format!("/v1/orders/{order}/exchanges"),
            Action::Refund { order, .. } => format!("/v1/orders/{order}/refunds"),
            Action::AddPayment { order, .. } => format!("/v1/orders/{order}/payments"),
            Action::Cancel { order, .. } => format!("/v1/orders/{order}/cancel"),
            Action::Charge { payment, .. } => format!("/v1/payments/{payment}/charge"),
            Action::Authorize { payment, .. } => format!("/v1/payments/{payment}/authorize"),
            Action::Capture { payment, .. } => format!("/v1/payments/{payment}/capture"),
            Action::Fail { payment, .. } => format!("/v1/payments/{payment}/fail"),
            Action::Void { payment } => format!("/v1/payments/{payment}/void"),
            Action::Refunded { payment, refund } => {
                format!("/v1/payments/{payment}/refunds/{refund}/succeed")
            }
            Action::RefundFailed { payment, refund } => {
                format!("/v1/payments/{payment}/refunds/{refund}/fail")
            }
        }
    }

    pub fn body(&self) -> Value {
        match &self.action {
            Action::Receive { quantity, .. } => json!({"quantity": quantity}),
            Action::ReceiveMany { items } => {
                let item = |(sku, quantity): &(Sku, u32)| json!({"sku": sku, "quantity": quantity});
                json!({"receipts": items.iter().map(item).collect::<Vec<_>>()})
            }
            Action::Adjust { delta, .. } => json!({"delta": delta}),
            Action::Place { body, .. } => body.clone(),
            Action::Ship { lines, .. } | Action::Cancel { lines, .. } => json!({"lines": lines}),
            Action::Deliver { shipment, .. } => json!({"shipment_id": shipment}),
            Action::Return { lines, refund_amount, .. } => {
                json!({"lines": returned(lines), "refund_amount": refund_amount})
            }
            Action::Exchange { lines, body, .. } => {
                json!({"return": {"lines": returned(lines)}, "order": body})
            }
            Action::Refund { amount, .. } => json!({"amount": amount}),
            Action::Authorize { amount, .. }
            | Action::Capture { amount, .. }
            | Action::AddPayment { amount, .. } => json!({"amount": amount}),
            Action::Charge { charge, .. } => json!({"method": charge.method, "capture": charge.capture}),
            Action::Fail { retryable, .. } => json!({"retryable": retryable}),
            Action::Void { .. } | Action::Refunded { .. } | Action::RefundFailed { .. } => json!({}),
        }
    }

    /// The stream on whose state the request is decided.
    pub fn stream(&self) -> StreamName {
        match &self.action {
            Action::Receive { sku, .. } | Action::Adjust { sku, .. } => sku.clone().into(),
            Action::ReceiveMany { .. } => ReceiptId::from(self.command_id()).into(),
            Action::Place { .. } => OrderId::of_command(self.command_id()).into(),
            Action::Exchange { .. } => ExchangeId::from(self.command_id()).into(),
            Action::Ship { order, .. }
            | Action::Deliver { order, .. }
            | Action::Return { order, .. }
            | Action::Refund { order, .. }
            | Action::AddPayment { order, .. }
            | Action::Cancel { order, .. } => (*order).into(),
            Action::Charge { payment, .. }
            | Action::Authorize { payment, .. }
            | Action::Capture { payment, .. }
            | Action::Fail { payment, .. }
            | Action::Void { payment }
            | Action::Refunded { payment, .. }
            | Action::RefundFailed { payment, .. } => (*payment).into(),
        }
    }

    pub fn stock_command(&self) -> Option<StockCommand> {
        match &self.action {
            Action::Receive { quantity, .. } => {
                Some(StockCommand::Receive { quantity: *quantity, reference: None })
            }
            Action::Adjust { delta, .. } => Some(StockCommand::Adjust { delta: *delta, reason: None }),
            _ => None,
        }
    }

    pub fn order_command(&self) -> Option<OrderCommand> {
        let id = self.command_id();
        match &self.action {
            Action::Ship { lines, .. } => Some(OrderCommand::Ship {
                shipment_id: ShipmentId::of_command(id),
                lines: lines.clone(),
                carrier: None,
                tracking_number: None,
                now: Timestamp::UNIX_EPOCH,
            }),
            Action::Deliver { shipment, .. } => Some(OrderCommand::Deliver { shipment_id: *shipment }),
            Action::Return { lines, refund_amount, .. } => Some(OrderCommand::Return(NewReturn {
                return_id: ReturnId::of_command(id),
                lines: lines.clone(),
                refund_amount: refund_amount.map(amount),
                reason: None,
            })),
            Action::Refund { amount: minor_units, .. } => Some(OrderCommand::Refund {
                refund_id: RefundId::of_command(id),
                amount: amount(*minor_units),
                lines: Vec::new(),
                payment_id: None,
                reason: None,
            }),
            Action::AddPayment { amount: minor_units, .. } => Some(OrderCommand::AddPayment {
                payment_id: PaymentId::of_command(id),
                amount: minor_units.map(amount),
                charge: None,
            }),
            Action::Cancel { lines, .. } => {
                let id = CancellationId::of_command(id);
                let of_the_rest = NewCancellation::of_the_rest(id, CancelReason::Requested);
                Some(OrderCommand::Cancel(NewCancellation { lines: lines.clone(), ..of_the_rest }))
            }
            _ => None,
        }
    }

    pub fn payment_command(&self) -> Option<PaymentCommand> {
        match &self.action {
            Action::Charge { charge, .. } => Some(PaymentCommand::Charge(charge.clone())),
            Action::Authorize { amount: minor_units, .. } => {
                Some(PaymentCommand::Authorize { amount: minor_units.map(amount), reference: None })
            }
            Action::Capture { amount: minor_units, .. } => {
                Some(PaymentCommand::Capture { amount: minor_units.map(amount), reference: None })
            }
            Action::Fail { retryable, .. } => {
                Some(PaymentCommand::Fail { reason: None, retryable: *retryable })
            }
            Action::Void { .. } => Some(PaymentCommand::Void { reason: None }),
            Action::Refunded { refund, .. } => {
                Some(PaymentCommand::RecordRefunded { refund_id: *refund, reference: None })
            }
            Action::RefundFailed { refund, .. } => {
                Some(PaymentCommand::RecordRefundFailed { refund_id: *refund, reason: None })
            }
            _ => None,
        }
    }
}

fn returned(lines: &[ReturnLine]) -> Vec<Value> {
    let part =
        |part: &ReturnLine| json!({"line": part.line, "quantity": part.quantity, "restock": part.restock});
    lines.iter().map(part).collect()
}

/// The answer as one line of the trace.
pub fn describe(answer: &Answer) -> String {
    let mut text = answer.status.as_u16().to_string();
    if answer.replayed {
        text.push_str(" replayed");
    }
    let _ = write!(text, " {}", answer.body);
    text
}
