//! Parts of pages that show one event: its lane, its short members, and all of it.

use domain::{Currency, StreamName};
use infra::event_row::EventRow;
use maud::{Markup, html};
use serde_json::Value;

use super::{
    format::{self, stream_link},
    lanes::Lane,
};

/// The members of events that their lines show. The JSON has all of them.
const SHOWN: [&str; 9] = [
    "quantity",
    "amount",
    "captured",
    "refunded",
    "refund_amount",
    "reason",
    "carrier",
    "tracking_number",
    "note",
];

pub(super) fn lane(stream: &StreamName) -> Lane {
    match stream {
        StreamName::Order(_) | StreamName::Exchange(_) => Lane::Order,
        StreamName::Payment(_) => Lane::Payment,
        StreamName::Stock(_) | StreamName::Receipt(_) => Lane::Stock,
    }
}

/// The short members of an event. `currency`: of its amounts, which are left out if neither it nor the event tells.
pub(super) fn facts(data: &Value, currency: Option<Currency>) -> String {
    let own = || data.get("currency")?.as_str()?.parse().ok();
    let currency = currency.or_else(own);
    let fact = |name: &&str| {
        let of_money = matches!(*name, "amount" | "captured" | "refunded" | "refund_amount");
        match data.get(*name)? {
            Value::Number(number) if of_money => {
                let minor_units = number.as_i64().filter(|units| *units != 0)?;
                let amount = format::decimal(minor_units.into(), Some(currency?));
                let name = name.replace('_', " ");
                Some(if name == "amount" { amount } else { format!("{name} {amount}") })
            }
            Value::Number(number) => Some(format::several(number.as_u64()?, "unit", "units")),
            Value::String(text) => Some(text.replace('_', " ")),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    };
    SHOWN.iter().filter_map(fact).collect::<Vec<_>>().join(" · ")
}

/// Everything that is stored of an event. `cause`: where the event that caused it is shown.
pub(super) fn details(row: &EventRow<'_>, cause: Option<Markup>) -> Markup {
    let json = serde_json::to_string_pretty(&row.data.to_value()).unwrap_or_default();
    html! {
        dl.facts {
            dt { "Event" } dd.id.wrap { (row.event_type) " " (row.event_id) }
            dt { "Stream" }
            dd.wrap { (stream_link(row.stream)) ", revision " (row.revision) ", position " (row.position) }
            @if let Some(cause) = cause { dt { "Cause" } dd.wrap { (cause) } }
            @if let Some(command) = row.command { dt { "Command" } dd { (command) } }
            @if let Some(key) = row.idempotency_key { dt { "Idempotency key" } dd.id.wrap { (key) } }
            @if let Some(principal) = row.principal {
                dt { "By" }
                dd { (principal) @if let Some(person) = row.person { ", " (person) } }
            }
            @if let Some(correlation) = row.correlation_id {
                dt { "Correlation" }
                dd.id.wrap { a href={ "/log/" (correlation) "?around=" (row.position) } { (correlation) } }
            }
        }
        pre tabindex="0" { code { (json) } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_short_members_of_an_event_are_shown_in_its_currency() {
        let gbp = "GBP".parse().ok();
        let event = json!({"amount": 1_250, "reason": "too_late", "lines": [1], "captured": 0});
        assert_eq!(facts(&event, gbp), "12.50 · too late");
        assert_eq!(facts(&event, None), "too late");
        assert_eq!(facts(&json!({"amount": 1_250, "currency": "JPY"}), None), "1,250");
        assert_eq!(facts(&json!({"quantity": 6}), gbp), "6 units");
        assert_eq!(facts(&json!({"quantity": 1}), gbp), "1 unit");
        assert_eq!(facts(&json!("damaged"), gbp), "");
    }
}
