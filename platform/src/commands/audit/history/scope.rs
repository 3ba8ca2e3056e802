//! Which events belong to a customer, a chain of commands or an actor.

use std::collections::HashSet;

use domain::{RecordedEvent, StreamName};
use serde::Deserialize;
use uuid::Uuid;

/// Filters of events. They see every event from the beginning of the log, in its order.
pub(super) struct Scope {
    pub customer: Option<Customer>,
    pub correlation: Option<Uuid>,
    pub actor: Option<String>,
}

impl Scope {
    pub fn includes(&mut self, event: &RecordedEvent) -> bool {
        // First: it learns from every event.
        self.customer.as_mut().is_none_or(|customer| customer.includes(event)) && self.is_by(event)
    }

    fn is_by(&self, event: &RecordedEvent) -> bool {
        if self.correlation.is_none() && self.actor.is_none() {
            return true;
        }
        let Ok(metadata) = event.decode_metadata() else { return false };
        let is_actor = |name: &String| {
            let actor = metadata.actor.as_ref();
            actor.is_some_and(|actor| actor.principal == **name || actor.person.as_ref() == Some(name))
        };
        self.correlation.is_none_or(|id| metadata.correlation_id == id)
            && self.actor.as_ref().is_none_or(is_actor)
    }
}

/// The events of one customer: those of its orders, and every event that names one of these orders or their payments.
pub(super) struct Customer {
    id: String,
    /// Orders and payments.
    own: HashSet<Uuid>,
}

/// What the data of an event name. Every version of every event uses these names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    customer_id: Option<String>,
    order_id: Option<Uuid>,
    payment_id: Option<Uuid>,
}

impl Customer {
    pub fn new(id: String) -> Self {
        Self { id, own: HashSet::new() }
    }

    fn includes(&mut self, event: &RecordedEvent) -> bool {
        let of_stream = match &event.stream {
            StreamName::Order(id) => Some(id.0),
            StreamName::Payment(id) => Some(id.0),
            StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => None,
        };
        let Ok(named) = serde_json::from_slice::<Named>(&event.data) else {
            return of_stream.is_some_and(|id| self.own.contains(&id));
        };
        let is_own = |id: &Uuid| self.own.contains(id);
        let includes = named.customer_id.as_ref() == Some(&self.id)
            || [of_stream, named.order_id, named.payment_id].iter().flatten().any(is_own);
        if includes {
            self.own.extend(of_stream);
        }
        includes
    }
}

#[cfg(test)]
mod tests {
    use domain::{EventId, Timestamp};

    use super::*;

    fn event(stream: &str, data: &str) -> RecordedEvent {
        RecordedEvent {
            position: 1,
            stream: stream.parse().unwrap(),
            revision: 0,
            id: EventId(Uuid::nil()),
            type_name: "any".into(),
            data: data.as_bytes().into(),
            metadata: b"{}".as_slice().into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        }
    }

    #[test]
    fn the_events_of_a_customer_are_those_that_its_orders_lead_to() {
        let id = |number: u128| Uuid::from_u128(number);
        let (own, other, payment) = (id(1), id(2), id(3));
        let log = [
            (format!("order-{own}"), format!(r#"{{"order_id":"{own}","customer_id":"7"}}"#), true),
            (format!("order-{other}"), format!(r#"{{"order_id":"{other}","customer_id":"77"}}"#), false),
            ("stock-A".to_owned(), format!(r#"{{"order_id":"{other}","quantity":1}}"#), false),
            ("stock-A".to_owned(), format!(r#"{{"order_id":"{own}","quantity":1}}"#), true),
            ("stock-A".to_owned(), r#"{"quantity":1}"#.to_owned(), false),
            (format!("payment-{payment}"), format!(r#"{{"order_id":"{own}"}}"#), true),
            (format!("payment-{payment}"), r#"{"amount":5}"#.to_owned(), true),
            (format!("order-{own}"), "{}".to_owned(), true),
            (format!("order-{own}"), "damaged".to_owned(), true),
            (format!("order-{other}"), "{}".to_owned(), false),
            (format!("exchange-{}", id(4)), format!(r#"{{"order_id":"{own}"}}"#), true),
        ];
        let mut customer = Customer::new("7".to_owned());
        for (stream, data, expected) in log {
            assert_eq!(customer.includes(&event(&stream, &data)), expected, "{stream} {data}");
        }
    }
}
