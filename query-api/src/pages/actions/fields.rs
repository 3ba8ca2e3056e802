//! The fields of the forms of order actions.

use domain::order::Order;
use maud::{Markup, html};

use super::{
    OrderAction,
    plan::{LINES_MAX, available, field_of, proposed},
};
use crate::pages::{
    format::{amount, decimal, payment_kind, several, short_id},
    order::Shown,
    view::Fields,
};

/// The fields of a form that is shown for the first time. `given`: those of its address.
pub(super) fn defaults(action: OrderAction, shown: &Shown, given: &Fields) -> Fields {
    let order = &shown.order;
    let mut fields = Fields::default();
    let possible = || (1..).zip(order.lines()).filter(|(_, line)| available(action, line) > 0);
    if possible().count() <= LINES_MAX {
        for (number, line) in possible() {
            fields.add(field_of(number), proposed(action, line).to_string());
        }
    }
    match action {
        OrderAction::Return => fields.add("restock", "1"),
        OrderAction::Deliver => {
            let on_the_way = order.shipments().iter().find(|one| !one.delivered && !one.is_undone());
            let first = on_the_way.map(|shipment| shipment.shipment_id.to_string());
            if let Some(id) = given.text("shipment").map(str::to_owned).or(first) {
                fields.add("shipment", id);
            }
        }
        OrderAction::Refund if order.overpaid().is_positive() => {
            let amount = decimal(order.overpaid().minor_units().into(), order.currency());
            fields.add("amount", amount.replace(',', ""));
        }
        OrderAction::Ship | OrderAction::Cancel | OrderAction::Refund => {}
    }
    fields
}

pub(super) fn fields(action: OrderAction, shown: &Shown, given: &Fields) -> Markup {
    let order = &shown.order;
    html! {
        @match action {
            OrderAction::Ship => {
                (lines(action, order, given, "Units that leave"))
                (text("carrier", "Carrier", "optional", given))
                (text("tracking_number", "Tracking number", "optional", given))
            },
            OrderAction::Deliver => (shipments(order, given)),
            OrderAction::Return => {
                (lines(action, order, given, "Units that came back"))
                label.check {
                    input type="checkbox" name="restock" value="1"
                        checked[given.is_given("restock")];
                    " They can be sold again: put them back on the shelf"
                }
                (refund_amount(order, given, "what was paid for the units"))
                (text("reason", "Reason", "optional", given))
            },
            OrderAction::Refund => {
                (refund(shown, given))
                (text("reason", "Reason", "optional", given))
            },
            OrderAction::Cancel => {
                (lines(action, order, given, "Units that are not shipped any more"))
                (refund_amount(order, given, "what was paid for the units"))
                (text("reason", "Note", "optional", given))
            },
        }
    }
}

fn text(name: &str, label: &str, hint: &str, given: &Fields) -> Markup {
    html! {
        label for=(name) { (label) " " span.muted { (hint) } }
        input id=(name) name=(name) maxlength="500" value=(given.text(name).unwrap_or_default());
    }
}

/// One field for each line that the action can take units of.
fn lines(action: OrderAction, order: &Order, given: &Fields, caption: &str) -> Markup {
    let possible = || (1..).zip(order.lines()).filter(move |(_, line)| available(action, line) > 0);
    let number = possible().count();
    if number > LINES_MAX {
        return html! {
            p.notice.busy { "All of it: " (several(number as u64, "line", "lines")) ". Parts of so large an order go through the API." }
        };
    }
    html! {
        div.box role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead { tr { th { "SKU" } th.number { "Price" } th.number { "Possible" } th.number { "Units" } } }
                tbody {
                    @for (number, line) in possible() {
                            tr {
                            td { label for=(field_of(number)) { (line.sku) } }
                            td.number { (amount(line.unit_price, order.currency())) }
                            td.number { (available(action, line)) }
                            td.number {
                                input.units id=(field_of(number)) name=(field_of(number)) type="number" min="0"
                                    max=(available(action, line)) value=(given.text(&field_of(number)).unwrap_or("0")) inputmode="numeric";
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shipments(order: &Order, given: &Fields) -> Markup {
    let chosen = given.text("shipment");
    html! {
        label for="shipment" { "Shipment" }
        select #shipment name="shipment" required {
            @for shipment in order.shipments().iter().filter(|one| !one.delivered && !one.is_undone()) {
                @let id = shipment.shipment_id.to_string();
                option value=(id) selected[chosen == Some(id.as_str())] {
                    (short_id(shipment.shipment_id))
                    @if let Some(carrier) = &shipment.carrier { " " (carrier) }
                    @if let Some(number) = &shipment.tracking_number { " " (number) }
                }
            }
        }
    }
}

/// The amount of a return or cancellation, in place of the usual one.
fn refund_amount(order: &Order, given: &Fields, usual: &str) -> Markup {
    html! {
        label for="refund_amount" {
            "Refund" @if let Some(currency) = order.currency() { " in " (currency) }
            " " span.muted { "if empty: " (usual) }
        }
        input #refund_amount name="refund_amount" inputmode="decimal" autocomplete="off"
            value=(given.text("refund_amount").unwrap_or_default());
    }
}

fn refund(shown: &Shown, given: &Fields) -> Markup {
    let order = &shown.order;
    let chosen = given.text("payment_id");
    html! {
        label for="amount" {
            "Amount" @if let Some(currency) = order.currency() { " in " (currency) }
            " " span.muted { "at most " (amount(order.refundable(), order.currency())) }
        }
        input #amount name="amount" inputmode="decimal" autocomplete="off" required
            value=(given.text("amount").unwrap_or_default());
        @if order.tenders().len() > 1 {
            label for="payment_id" { "Goes back by" }
            select #payment_id name="payment_id" {
                option value="" { "the newest payments that hold the money" }
                @for tender in order.tenders() {
                    @let id = tender.payment_id.to_string();
                    @let kind = shown.payment(tender.payment_id).and_then(|row| row.payment.kind());
                    option value=(id) selected[chosen == Some(id.as_str())] {
                        (short_id(tender.payment_id)) ", " (payment_kind(kind))
                    }
                }
            }
        }
    }
}
