//! The event types that a subscription asks for.

use domain::{decider::StoredEvent, order::OrderEvent, payment::PaymentEvent};

/// The most patterns of a subscription.
const PATTERNS_MAX: usize = 50;
const EVERYTHING: &str = "*";

/// Patterns of stored event types: `order.placed.v2`, `order.*`, `order.placed.*`, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTypes(Vec<String>);

/// Why a list of patterns is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventTypes {
    #[error("expected 1 to {PATTERNS_MAX} patterns")]
    Number,
    #[error(
        "{0:?} matches no event of orders or payments; expected a type such as \"order.placed.v2\", \
         or a pattern such as \"order.*\" or \"*\""
    )]
    NoSuchType(String),
}

impl EventTypes {
    /// All events of orders and payments.
    pub fn all() -> Self {
        Self(vec![EVERYTHING.to_owned()])
    }

    /// Refuses a pattern that matches no event type of this version: no event would ever be delivered for it.
    pub fn new(patterns: Vec<String>) -> Result<Self, InvalidEventTypes> {
        if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
            return Err(InvalidEventTypes::Number);
        }
        let known = || OrderEvent::TYPE_NAMES.iter().chain(PaymentEvent::TYPE_NAMES);
        let unmatched = |pattern: &&String| !known().any(|name| matches(pattern, name));
        match patterns.iter().find(unmatched) {
            Some(pattern) => Err(InvalidEventTypes::NoSuchType(pattern.chars().take(100).collect())),
            None => Ok(Self(patterns)),
        }
    }

    /// Stored patterns, unchecked, because another version of this program may have other event types.
    pub(crate) fn stored(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    pub fn matches(&self, type_name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, type_name))
    }
}

fn matches(pattern: &str, type_name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => type_name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
        None => pattern == EVERYTHING || pattern == type_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(patterns: &[&str]) -> Result<EventTypes, InvalidEventTypes> {
        EventTypes::new(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    #[test]
    fn a_pattern_matches_whole_segments_of_a_type_name() {
        let some = types(&["order.*", "payment.captured.*", "payment.failed.v1"]).unwrap();
        for wanted in ["order.placed.v2", "order.placed.v9", "payment.captured.v1", "payment.failed.v1"] {
            assert!(some.matches(wanted), "{wanted}");
        }
        for unwanted in
            ["payment.failed.v2", "payment.captured_twice.v1", "orders.placed.v1", "stock.received.v1"]
        {
            assert!(!some.matches(unwanted), "{unwanted}");
        }
        assert!(EventTypes::all().matches("payment.voided.v1"));
    }

    #[test]
    fn a_pattern_that_matches_no_event_type_is_refused() {
        for pattern in ["order.shiped.v1", "stock.*", "order.", "*.v1", "", "order*", ".*"] {
            assert_eq!(types(&["order.*", pattern]), Err(InvalidEventTypes::NoSuchType(pattern.to_owned())));
        }
        assert_eq!(types(&[]), Err(InvalidEventTypes::Number));
        assert_eq!(types(&["*"; PATTERNS_MAX + 1]), Err(InvalidEventTypes::Number));
    }
}
