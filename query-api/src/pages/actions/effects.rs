//! What an action does to order, money and stock: the order of the read model against the one after the decision.

use domain::{
    Currency, Decider, Sku,
    order::{Line, Order, OrderCommand, OrderDecider, OrderEvent, OrderRefusal, PaymentTerms},
};
use maud::{Markup, html};

use crate::pages::format::{decimal, money, payment_link, several};

/// SKUs that are named one by one.
const SKUS_MAX: usize = 20;

/// The effects of a command, or why it is refused.
pub(super) fn effects(order: &Order, command: OrderCommand) -> Result<Vec<Markup>, String> {
    let events = OrderDecider::decide(order, command).map_err(|refusal| words(&refusal, order.currency()))?;
    let mut after = order.clone();
    for event in &events {
        OrderDecider::evolve(&mut after, event);
    }
    if events.is_empty() {
        return Ok(vec![html! { "Nothing changes: the order is already so." }]);
    }
    let mut effects = on_states(order, &after);
    effects.extend(on_money(order, &after));
    effects.extend(on_stock(order, &after, &events));
    Ok(effects)
}

/// A refusal with amounts as people write them.
fn words(refusal: &OrderRefusal, currency: Option<Currency>) -> String {
    let amount = |amount: &domain::Amount| {
        let unit = currency.map(|currency| format!(" {currency}")).unwrap_or_default();
        format!("{}{unit}", decimal(amount.minor_units().into(), currency))
    };
    match refusal {
        OrderRefusal::RefundTooLarge { refundable, .. } => {
            format!("at most {} can go back", amount(refundable))
        }
        OrderRefusal::LineRefundTooLarge { line, refundable, .. } => {
            format!("line {line}: at most {} can go back", amount(refundable))
        }
        OrderRefusal::NotAuthorized { needed, authorized } => format!(
            "this shipment needs {} authorized, and {} is; charge the payment again",
            amount(needed),
            amount(authorized)
        ),
        OrderRefusal::AllRefunded => "all that was paid is refunded; cancel the order instead".to_owned(),
        other => other.to_string(),
    }
}

fn on_states(before: &Order, after: &Order) -> Vec<Markup> {
    let words = |text: &str| text.replace('_', " ");
    let changes = [
        ("Order", before.status().as_str(), after.status().as_str()),
        ("Fulfilment", before.fulfilment_status().as_str(), after.fulfilment_status().as_str()),
    ];
    let changed = changes.into_iter().filter(|(_, before, after)| before != after);
    changed
        .map(|(name, before, after)| html! { (name) ": " (words(before)) " → " strong { (words(after)) } })
        .collect()
}

fn on_money(before: &Order, after: &Order) -> Vec<Markup> {
    let currency = after.currency();
    let mut effects = Vec::new();
    for refund in after.refunds().iter().skip(before.refunds().len()) {
        effects.push(html! {
            "Money: " strong { (money(refund.amount, currency)) } " goes back to the customer"
            @if let Some(payment_id) = refund.payment_id { ", by payment " (payment_link(payment_id)) }
        });
    }
    let returned = after.refund_due().saturating_sub(before.refund_due());
    if effects.is_empty() && returned.is_positive() {
        effects.push(html! { "Money: " strong { (money(returned, currency)) } " goes back to the customer" });
    }
    let captured = after.due_for_shipped().saturating_sub(before.due_for_shipped());
    if after.terms() == PaymentTerms::OnShipment && captured.is_positive() {
        effects.push(
            html! { "Money: " strong { (money(captured, currency)) } " is captured from what is authorized" },
        );
    }
    if before.amount_due() != after.amount_due() {
        effects.push(html! {
            "Money: the customer still has to pay " strong { (money(after.amount_due(), currency)) }
            ", before " (money(before.amount_due(), currency))
        });
    }
    if after.overpaid() > before.overpaid() {
        effects.push(html! { "Money: " (money(after.overpaid(), currency)) " is then overpaid, and stays until it is refunded" });
    }
    let ends = after.status().is_final() && !before.status().is_final();
    if ends && before.tenders().iter().any(|tender| tender.asks_for().is_positive()) {
        effects.push(html! { "Money: open payments are closed, and nothing more is charged" });
    }
    if effects.is_empty() {
        effects.push(html! { "Money: none moves" });
    }
    effects
}

fn on_stock(before: &Order, after: &Order, events: &[OrderEvent]) -> Vec<Markup> {
    let restocked = |number: u32| {
        let lines = events.iter().filter_map(|event| match event {
            OrderEvent::Returned(returned) => Some(&returned.lines),
            _ => None,
        });
        lines.flatten().any(|line| line.line == number && line.restock)
    };
    let mut changes: Vec<Markup> = Vec::new();
    for (number, (old, new)) in (1..).zip(before.lines().iter().zip(after.lines())) {
        changes.extend(on_line(old, new, restocked(number)));
    }
    if changes.is_empty() {
        return vec![html! { "Stock: does not change" }];
    }
    let others = changes.len().saturating_sub(SKUS_MAX);
    changes.truncate(SKUS_MAX);
    if others > 0 {
        changes.push(html! { "Stock: and " (several(others as u64, "more line", "more lines")) });
    }
    changes
}

/// What happens to the stock of one line.
fn on_line(old: &Line, new: &Line, is_restocked: bool) -> Option<Markup> {
    if !old.stocked {
        return None;
    }
    let told = |units: u32, sku: &Sku, effect: &str| {
        html! {
            "Stock: " strong { (units) " × " (sku) } " " (effect)
        }
    };
    let (shipped, cancelled) = (new.shipped - old.shipped, new.cancelled - old.cancelled);
    let returned = new.returned - old.returned;
    match (shipped, cancelled, returned) {
        (0, 0, 0) => None,
        (units, 0, 0) => Some(told(units, &new.sku, "leave the shelf")),
        (0, units, 0) => Some(told(units, &new.sku, "are free for other orders again")),
        (_, _, units) if is_restocked => Some(told(units, &new.sku, "go back on the shelf")),
        (_, _, units) => Some(told(units, &new.sku, "do not go back into stock")),
    }
}
