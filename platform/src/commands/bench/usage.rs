//! What the server uses for an order: processor time, and calls to a server of events.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{client::Connection, server::Target};
use crate::commands::Failure;

const PROCESSOR_TIME: &str = "process_cpu_seconds_total";
const CALLS: &str = "orderly_eventstoredb_calls_total";

/// What one process of the server has used since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    processor_s: f64,
    /// Calls to EventStoreDB, by kind. Empty over another event store.
    calls: BTreeMap<String, f64>,
}

/// What that process uses for one order, with the work that follows the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsagePerOrder {
    pub processor_us: f64,
    pub eventstoredb_calls: BTreeMap<String, f64>,
}

impl Usage {
    /// `None` if the address of the measurements is not known.
    pub async fn read(target: Target) -> Result<Option<Self>, Failure> {
        let Some(address) = target.admin else { return Ok(None) };
        let path = "/metrics";
        let answer = Connection::open(address).await?.get(path).await?;
        let usage = Self::parse(&String::from_utf8_lossy(&answer.body));
        usage.map(Some).ok_or_else(|| Failure::new(format!("http://{address}{path} has no {PROCESSOR_TIME}")))
    }

    /// Reads the text format of Prometheus: lines `NAME VALUE` and `NAME{kind="KIND"} VALUE`.
    fn parse(text: &str) -> Option<Self> {
        let (mut processor_s, mut calls) = (None, BTreeMap::new());
        for (name, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Ok(value) = value.parse() else { continue };
            if name == PROCESSOR_TIME {
                processor_s = Some(value);
            } else if let Some(labels) = name.strip_prefix(CALLS) {
                calls.insert(labels.split('"').nth(1)?.to_owned(), value);
            }
        }
        Some(Self { processor_s: processor_s?, calls })
    }

    /// What was used since `before`, divided by the orders.
    #[allow(clippy::cast_precision_loss, reason = "a count of orders is far below 2^53")]
    pub fn per_order(&self, before: &Self, orders: usize) -> UsagePerOrder {
        let orders = orders.max(1) as f64;
        let calls = self.calls.iter().map(|(kind, count)| {
            let earlier = before.calls.get(kind).copied().unwrap_or_default();
            (kind.clone(), (count - earlier) / orders)
        });
        UsagePerOrder {
            processor_us: (self.processor_s - before.processor_s) / orders * 1e6,
            eventstoredb_calls: calls.collect(),
        }
    }
}

/// The calls: `append 4.00, stream_read 0.01`.
impl fmt::Display for UsagePerOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.eventstoredb_calls.is_empty() {
            return f.write_str("none");
        }
        for (number, (kind, count)) in self.eventstoredb_calls.iter().enumerate() {
            write!(f, "{}{kind} {count:.2}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_divided_by_the_orders() {
        let text = |seconds: f64, appends: u64| {
            format!(
                "# TYPE process_cpu_seconds_total gauge\nprocess_cpu_seconds_total {seconds}\n\n\
                 # TYPE {CALLS} counter\n{CALLS}{{kind=\"append\"}} {appends}\n{CALLS}{{kind=\"all_read\"}} 3\n"
            )
        };
        let before = Usage::parse(&text(1.5, 40)).unwrap();
        let used = Usage::parse(&text(2.0, 840)).unwrap().per_order(&before, 200);
        assert!((used.processor_us - 2_500.0).abs() < 1e-6, "{used:?}");
        assert_eq!(used.to_string(), "all_read 0.00, append 4.00");
    }

    #[test]
    fn a_text_without_the_processor_time_is_refused() {
        assert_eq!(Usage::parse("up 1\n"), None);
    }
}
