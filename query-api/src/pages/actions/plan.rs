//! From the fields of a form to a command: for the command API, and for the decision that tells its effects.

use domain::{
    Amount, CancellationId, Currency, PaymentId, RefundId, ReturnId, ShipmentId, Timestamp,
    order::{CancelReason, Line, LineQuantity, NewCancellation, NewReturn, Order, OrderCommand, ReturnLine},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::OrderAction;
use crate::pages::{format::parse_decimal, view::Fields};

/// Lines with a field of their own. An order with more can be shipped and cancelled as a whole.
pub(super) const LINES_MAX: usize = 200;

/// What a form asks for.
pub(super) struct Plan {
    pub body: Value,
    pub command: OrderCommand,
}

/// Every reason why the fields are no command.
type Faults = Vec<String>;

pub(super) fn plan(
    action: OrderAction,
    order: &Order,
    fields: &Fields,
    now: Timestamp,
) -> Result<Plan, Faults> {
    let reader = Reader { order, fields, currency: order.currency() };
    match action {
        OrderAction::Ship => reader.ship(now),
        OrderAction::Deliver => reader.deliver(),
        OrderAction::Return => reader.give_back(),
        OrderAction::Refund => reader.refund(),
        OrderAction::Cancel => reader.cancel(),
    }
}

/// The units of a line that an action can take.
pub(super) fn available(action: OrderAction, line: &Line) -> u32 {
    match action {
        OrderAction::Ship | OrderAction::Cancel => line.open(),
        OrderAction::Return => line.shipped - line.returned,
        OrderAction::Deliver | OrderAction::Refund => 0,
    }
}

/// The units that the form of an action begins with. Goods that come back are counted by a person.
pub(super) fn proposed(action: OrderAction, line: &Line) -> u32 {
    match action {
        OrderAction::Return => 0,
        OrderAction::Ship | OrderAction::Cancel | OrderAction::Deliver | OrderAction::Refund => {
            available(action, line)
        }
    }
}

/// The field of a line.
pub(super) fn field_of(line: u32) -> String {
    format!("units{line}")
}

struct Reader<'a> {
    order: &'a Order,
    fields: &'a Fields,
    currency: Option<Currency>,
}

impl Reader<'_> {
    fn ship(&self, now: Timestamp) -> Result<Plan, Faults> {
        let lines = self.lines(OrderAction::Ship)?;
        let (carrier, tracking_number) = (self.text("carrier"), self.text("tracking_number"));
        let mut body = Map::new();
        put_lines(&mut body, lines.as_deref());
        put(&mut body, "carrier", carrier.as_ref());
        put(&mut body, "tracking_number", tracking_number.as_ref());
        let shipment_id = ShipmentId(Uuid::nil());
        let command = OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now };
        Ok(Plan { body: body.into(), command })
    }

    fn deliver(&self) -> Result<Plan, Faults> {
        let given = self.fields.text("shipment").and_then(|text| Uuid::try_parse(text).ok());
        let shipment_id = given.map(ShipmentId).ok_or_else(|| vec!["choose a shipment".to_owned()])?;
        let body = json!({"shipment_id": shipment_id});
        Ok(Plan { body, command: OrderCommand::Deliver { shipment_id } })
    }

    fn give_back(&self) -> Result<Plan, Faults> {
        let lines = self.lines(OrderAction::Return)?.unwrap_or_default();
        if lines.is_empty() {
            return Err(vec!["enter how many units came back".to_owned()]);
        }
        let refund_amount = self.amount("refund_amount")?;
        let (reason, restock) = (self.text("reason"), self.fields.is_given("restock"));
        let returned = |LineQuantity { line, quantity }: &LineQuantity| ReturnLine {
            line: *line,
            quantity: *quantity,
            restock,
        };
        let parts = lines
            .iter()
            .map(|part| json!({"line": part.line, "quantity": part.quantity, "restock": restock}));
        let mut body = Map::new();
        body.insert("lines".to_owned(), parts.collect());
        put(&mut body, "refund_amount", refund_amount.as_ref());
        put(&mut body, "reason", reason.as_ref());
        let lines = lines.iter().map(returned).collect();
        let command = OrderCommand::Return(NewReturn {
            return_id: ReturnId(Uuid::nil()),
            lines,
            refund_amount,
            reason,
        });
        Ok(Plan { body: body.into(), command })
    }

    fn refund(&self) -> Result<Plan, Faults> {
        let amount = self.amount("amount")?.filter(|amount| amount.is_positive());
        let amount = amount.ok_or_else(|| vec!["enter the amount that goes back".to_owned()])?;
        let payment = self.fields.text("payment_id").map(Uuid::try_parse).transpose();
        let payment_id =
            payment.map_err(|_| vec!["the payment is none of this order".to_owned()])?.map(PaymentId);
        let reason = self.text("reason");
        let mut body = Map::new();
        put(&mut body, "amount", Some(&amount));
        put(&mut body, "payment_id", payment_id.as_ref());
        put(&mut body, "reason", reason.as_ref());
        let refund_id = RefundId(Uuid::nil());
        let command = OrderCommand::Refund { refund_id, amount, lines: Vec::new(), payment_id, reason };
        Ok(Plan { body: body.into(), command })
    }

    fn cancel(&self) -> Result<Plan, Faults> {
        let lines = self.lines(OrderAction::Cancel)?;
        let refund_amount = self.amount("refund_amount")?;
        let note = self.text("reason");
        let mut body = Map::new();
        put_lines(&mut body, lines.as_deref());
        put(&mut body, "refund_amount", refund_amount.as_ref());
        put(&mut body, "note", note.as_ref());
        let command = OrderCommand::Cancel(NewCancellation {
            cancellation_id: CancellationId(Uuid::nil()),
            reason: CancelReason::Requested,
            note,
            lines,
            refund_amount,
        });
        Ok(Plan { body: body.into(), command })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.fields.text(name).map(str::to_owned)
    }

    fn amount(&self, name: &str) -> Result<Option<Amount>, Faults> {
        let parse = |text: &str| parse_decimal(text, self.currency).map_err(|fault| vec![fault]);
        self.fields.text(name).map(parse).transpose()
    }

    /// The units of each line. `None`: all that can be shipped or cancelled, also of lines without a field.
    fn lines(&self, action: OrderAction) -> Result<Option<Vec<LineQuantity>>, Faults> {
        let (mut parts, mut faults, mut is_all) = (Vec::new(), Vec::new(), true);
        for (number, line) in (1..).zip(self.order.lines()) {
            let available = available(action, line);
            let quantity = match self.fields.text(&field_of(number)).map(str::parse::<u32>) {
                None if self.fields.is_given(&field_of(number)) => 0,
                // Of an order with more lines than fields.
                None => proposed(action, line),
                Some(Ok(quantity)) => quantity,
                Some(Err(_)) => {
                    faults.push(format!("line {number}: enter a whole number of units"));
                    continue;
                }
            };
            is_all = is_all && quantity == available;
            if quantity > 0 {
                parts.push(LineQuantity { line: number, quantity });
            }
        }
        match (faults.is_empty(), action) {
            (false, _) => Err(faults),
            (true, OrderAction::Ship | OrderAction::Cancel) if is_all => Ok(None),
            (true, OrderAction::Ship | OrderAction::Cancel) if parts.is_empty() => {
                Err(vec!["enter the units of at least one line".to_owned()])
            }
            (true, _) => Ok(Some(parts)),
        }
    }
}

fn put<T: serde::Serialize>(body: &mut Map<String, Value>, name: &str, value: Option<&T>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), json!(value));
    }
}

fn put_lines(body: &mut Map<String, Value>, lines: Option<&[LineQuantity]>) {
    if let Some(lines) = lines {
        let parts = lines.iter().map(|part| json!({"line": part.line, "quantity": part.quantity}));
        body.insert("lines".to_owned(), parts.collect());
    }
}
