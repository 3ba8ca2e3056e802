//! Values as people read them: money, counts, times, states, events.

use std::fmt::Display;

use domain::{
    Amount, Currency, StreamName, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms, TenderStatus},
    payment::{DisputeState, PaymentKind, PaymentState, RefundReason, RefundState},
};
use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};
use maud::{Markup, html};

use super::view::View;

/// The digits after the point of a currency (ISO 4217). 0 for those without minor units, such as gold.
pub(super) fn exponent(currency: Currency) -> usize {
    let known = iso_currency::Currency::from_code(currency.as_str());
    known.and_then(iso_currency::Currency::exponent).map_or(0, usize::from)
}

/// An amount in its currency, such as `1,234.50`. `None`: the currency is not known, so minor units.
pub(super) fn decimal(minor_units: i128, currency: Option<Currency>) -> String {
    let digits = currency.map_or(0, exponent);
    let text = format!("{:0width$}", minor_units.unsigned_abs(), width = digits + 1);
    let (whole, part) = text.split_at(text.len() - digits);
    let sign = if minor_units < 0 { "\u{2212}" } else { "" };
    let point = if digits > 0 { "." } else { "" };
    format!("{sign}{}{point}{part}", grouped(whole))
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The amount in minor units that a person typed, such as `12.50` or `1,234`.
pub(super) fn parse_decimal(text: &str, currency: Option<Currency>) -> Result<Amount, String> {
    let digits = currency.map_or(0, exponent);
    let plain = text.replace([',', ' '], "");
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) {
        return Err(format!("{text:?} is no amount, such as {}", decimal(1_250, currency)));
    }
    if part.len() > digits {
        return Err(format!("{text:?} has more than {digits} digits after the point"));
    }
    let minor_units = format!("{whole}{part:0<digits$}").parse().ok();
    minor_units.and_then(|units| Amount::new(units).ok()).ok_or_else(|| format!("{text:?} is too large"))
}

/// The instant that a person typed or chose: RFC 3339, or a date or a time by the clock of a zone.
pub(super) fn parse_instant(text: &str, zone: &TimeZone) -> Result<Timestamp, &'static str> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let local = text.parse::<DateTime>().and_then(|local| local.to_zoned(zone.clone()));
    local.map(|zoned| zoned.timestamp()).map_err(|_| {
        "is neither a date, such as 2010-12-01, nor a time, such as 2010-12-01T08:26:00 or 2010-12-01T08:26:00Z"
    })
}

/// An instant by the clock of the person, as a field for a time has it.
pub(super) fn field_time(at: Timestamp, view: &View) -> String {
    at.to_zoned(view.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

pub(super) fn money(amount: Amount, currency: Option<Currency>) -> Markup {
    large_money(amount.minor_units().into(), currency)
}

/// A sum over many orders.
pub(super) fn large_money(minor_units: i128, currency: Option<Currency>) -> Markup {
    html! {
        span.money {
            (decimal(minor_units, currency))
            @if let Some(currency) = currency { " " span.unit { (currency) } }
        }
    }
}

/// An amount in a column whose heading names the currency. 0 is a dash, so that the other amounts stand out.
pub(super) fn amount(amount: Amount, currency: Option<Currency>) -> Markup {
    html! {
        @if amount.is_zero() { span.muted { "–" } }
        @else { span.money { (decimal(amount.minor_units().into(), currency)) } }
    }
}

pub(super) fn count(count: impl TryInto<u64>) -> String {
    grouped(&count.try_into().unwrap_or_default().to_string())
}

/// "1 unit", "2 units".
pub(super) fn several(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// An instant by the clock of the person, to the second.
pub(super) fn time(at: Timestamp, view: &View) -> Markup {
    stamped(at, &view.zone, "%Y-%m-%d %H:%M:%S")
}

/// An instant by the clock of the person: the time of today's, the date of others.
pub(super) fn short_time(at: Timestamp, view: &View) -> Markup {
    let day = |at: Timestamp| at.to_zoned(view.zone.clone()).date();
    let pattern = if day(at) == day(view.now) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    stamped(at, &view.zone, pattern)
}

fn stamped(at: Timestamp, zone: &TimeZone, pattern: &str) -> Markup {
    let zoned = at.to_zoned(zone.clone());
    html! {
        time datetime=(at) title=(zoned.strftime("%A, %Y-%m-%d %H:%M:%S %Z").to_string()) {
            (zoned.strftime(pattern).to_string())
        }
    }
}

/// How long ago, in the largest unit that fits: "5 s", "12 min", "3 h", "9 days".
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let passed: SignedDuration = now.duration_since(since);
    let seconds = passed.as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The begin of an id: enough to tell the orders of a page apart.
pub(super) fn short_id(id: impl Display) -> String {
    let mut text = id.to_string();
    text.truncate(8);
    text
}

pub(super) fn order_link(id: domain::OrderId) -> Markup {
    html! { a.id href={ "/orders/" (id) } title=(id) { (short_id(id)) } }
}

pub(super) fn payment_link(id: domain::PaymentId) -> Markup {
    html! { a.id href={ "/payments/" (id) } title=(id) { (short_id(id)) } }
}

pub(super) fn sku_link(sku: &domain::Sku) -> Markup {
    html! { a href={ "/stock/" (super::url::segment(sku.as_str())) } { (sku) } }
}

pub(super) fn stream_link(stream: &StreamName) -> Markup {
    html! {
        @match stream {
            StreamName::Order(id) => a href={ "/orders/" (id) } { "order " (short_id(id)) },
            StreamName::Payment(id) => a href={ "/payments/" (id) } { "payment " (short_id(id)) },
            StreamName::Stock(sku) => (sku_link(sku)),
            StreamName::Receipt(_) | StreamName::Exchange(_) => (stream),
        }
    }
}

/// How a state looks. The word itself tells it, so no reader depends on the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to do.
    Idle,
    /// Under way.
    Busy,
    Good,
    /// A person should look.
    Warn,
    Bad,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Idle => "chip idle",
            Self::Busy => "chip busy",
            Self::Good => "chip good",
            Self::Warn => "chip warn",
            Self::Bad => "chip bad",
        }
    }
}

pub(super) fn chip(word: &str, tone: Tone) -> Markup {
    html! { span class=(tone.class()) { (word.replace('_', " ")) } }
}

pub(super) fn order_status(status: OrderStatus) -> Markup {
    let tone = match status {
        OrderStatus::New | OrderStatus::Placed => Tone::Busy,
        OrderStatus::Allocated => Tone::Good,
        OrderStatus::Rejected => Tone::Bad,
        OrderStatus::Cancelled | OrderStatus::Expired => Tone::Idle,
    };
    chip(status.as_str(), tone)
}

pub(super) fn payment_status(status: PaymentStatus) -> Markup {
    let tone = match status {
        PaymentStatus::Pending => Tone::Busy,
        PaymentStatus::PartiallyPaid => Tone::Warn,
        PaymentStatus::Paid => Tone::Good,
        PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded | PaymentStatus::NotDue => Tone::Idle,
    };
    chip(status.as_str(), tone)
}

/// `order`: nothing of an ended order is still to be shipped.
pub(super) fn fulfilment_status(status: FulfilmentStatus, order: OrderStatus) -> Markup {
    let tone = match status {
        FulfilmentStatus::Unfulfilled if order.is_final() => Tone::Idle,
        FulfilmentStatus::Unfulfilled => Tone::Busy,
        FulfilmentStatus::PartiallyShipped | FulfilmentStatus::PartiallyDelivered => Tone::Warn,
        FulfilmentStatus::Shipped | FulfilmentStatus::Delivered => Tone::Good,
        FulfilmentStatus::PartiallyReturned | FulfilmentStatus::Returned => Tone::Idle,
    };
    chip(status.as_str(), tone)
}

pub(super) fn payment_state(state: PaymentState) -> Markup {
    let tone = match state {
        PaymentState::New | PaymentState::Voided => Tone::Idle,
        PaymentState::Requested | PaymentState::Authorized => Tone::Busy,
        PaymentState::Captured => Tone::Good,
        PaymentState::Failed => Tone::Bad,
        PaymentState::OutcomeUnknown => Tone::Warn,
    };
    chip(state.as_str(), tone)
}

pub(super) fn tender_status(status: TenderStatus) -> Markup {
    let tone = match status {
        TenderStatus::Requested => Tone::Busy,
        TenderStatus::Captured => Tone::Good,
        TenderStatus::Failed => Tone::Bad,
        TenderStatus::Voided => Tone::Idle,
    };
    chip(status.as_str(), tone)
}

pub(super) fn refund_state(state: RefundState) -> Markup {
    let (word, tone) = match state {
        RefundState::Requested => ("requested", Tone::Busy),
        RefundState::Pending => ("pending", Tone::Busy),
        RefundState::OutcomeUnknown => ("outcome unknown", Tone::Warn),
        RefundState::Refunded => ("refunded", Tone::Good),
        RefundState::Failed => ("failed", Tone::Bad),
    };
    chip(word, tone)
}

pub(super) fn refund_reason(reason: RefundReason) -> &'static str {
    match reason {
        RefundReason::Return => "return",
        RefundReason::Requested => "by hand",
        RefundReason::OrderClosed => "order ended",
        RefundReason::Provider => "at the provider",
    }
}

pub(super) fn dispute_state(state: DisputeState) -> Markup {
    let (word, tone) = match state {
        DisputeState::Open => ("open", Tone::Warn),
        DisputeState::Won => ("won", Tone::Good),
        DisputeState::Lost => ("lost", Tone::Bad),
    };
    chip(word, tone)
}

pub(super) fn payment_kind(kind: Option<PaymentKind>) -> &'static str {
    match kind {
        Some(PaymentKind::Provider) => "provider",
        Some(PaymentKind::Manual) => "by hand",
        Some(PaymentKind::Credit) => "credit of an exchange",
        None => "not used yet",
    }
}

pub(super) fn terms(terms: PaymentTerms) -> &'static str {
    match terms {
        PaymentTerms::Prepaid => "prepaid",
        PaymentTerms::OnShipment => "captured on shipment",
        PaymentTerms::Net => "net: paid later",
    }
}

/// `order.refund_requested.v2` as words: "Refund requested".
pub(super) fn event_name(type_name: &str) -> String {
    let without_version = type_name.rsplit_once(".v").map_or(type_name, |(name, _)| name);
    let action = without_version.split_once('.').map_or(without_version, |(_, action)| action);
    let mut words = action.replace(['_', '.'], " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Option<Currency> {
        code.parse().ok()
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        assert_eq!(decimal(123_450, currency("GBP")), "1,234.50");
        assert_eq!(decimal(-5, currency("EUR")), "\u{2212}0.05");
        assert_eq!(decimal(1_234_567, currency("JPY")), "1,234,567");
        assert_eq!(decimal(1_234_567, currency("KWD")), "1,234.567");
        assert_eq!(decimal(i128::from(i64::MIN), None), "\u{2212}9,223,372,036,854,775,808");
    }

    #[test]
    fn typed_amounts_are_exact_or_refused() {
        let parse = |text: &str, code: &str| parse_decimal(text, currency(code)).map(Amount::minor_units);
        assert_eq!(parse("12.5", "GBP"), Ok(1_250));
        assert_eq!(parse("1,234", "GBP"), Ok(123_400));
        assert_eq!(parse("1234", "JPY"), Ok(1_234));
        assert_eq!(parse("0.001", "KWD"), Ok(1));
        for (text, code) in
            [("12.345", "GBP"), ("1.0", "JPY"), ("-1", "GBP"), ("", "GBP"), (".5", "GBP"), ("1e3", "GBP")]
        {
            assert!(parse(text, code).is_err(), "{text} {code}");
        }
        assert!(parse("99999999999999999999", "GBP").is_err());
    }

    #[test]
    fn typed_times_are_those_of_the_zone_unless_they_name_another() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for text in
            ["2026-07-01T12:30", "2026-07-01T12:30:00", "2026-07-01T10:30:00Z", "2026-07-01T13:30:00+03:00"]
        {
            assert_eq!(parse_instant(text, &zone).unwrap().to_string(), "2026-07-01T10:30:00Z", "{text}");
        }
        assert_eq!(parse_instant("2026-07-01", &zone).unwrap().to_string(), "2026-06-30T22:00:00Z");
        for text in ["", "yesterday", "2026-13-01", "12:30"] {
            assert!(parse_instant(text, &zone).is_err(), "{text}");
        }
    }

    #[test]
    fn events_are_named_in_words() {
        assert_eq!(event_name("order.refund_requested.v2"), "Refund requested");
        assert_eq!(event_name("stock.reserved.v1"), "Reserved");
    }
}
