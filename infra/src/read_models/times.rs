//! When the parts of orders and payments came about: the times at which the store recorded their events.
//!
//! The states of the domain have no such times, so the projections keep them beside the states.

use std::collections::BTreeMap;

use domain::{
    RefundId, ReturnId, ShipmentId, Timestamp,
    order::Order,
    payment::{Payment, RefundState},
};
use serde::{Deserialize, Serialize};

/// Bytes of an entry of a map, with its share of the map.
const ENTRY_BYTES: usize = 64;

/// Stored as JSON, as [`super::OrderRow`] is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTimes {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shipped: BTreeMap<ShipmentId, Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delivered: BTreeMap<ShipmentId, Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub returned: BTreeMap<ReturnId, Timestamp>,
    /// When the order requested each refund.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refunds_requested: BTreeMap<RefundId, Timestamp>,
}

impl OrderTimes {
    /// Adds the parts that are new in `order` since its last event, which was recorded `now`.
    pub fn add(&mut self, order: &Order, now: Timestamp) {
        for shipment in order.shipments() {
            self.shipped.entry(shipment.shipment_id).or_insert(now);
            if shipment.delivered {
                self.delivered.entry(shipment.shipment_id).or_insert(now);
            }
        }
        for returned in order.returns() {
            self.returned.entry(returned.return_id).or_insert(now);
        }
        for refund in order.refunds() {
            self.refunds_requested.entry(refund.refund_id).or_insert(now);
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let Self { shipped, delivered, returned, refunds_requested } = self;
        ENTRY_BYTES * (shipped.len() + delivered.len() + returned.len() + refunds_requested.len())
    }
}

/// When the refunds of a payment were requested and settled. Stored as JSON, as [`super::PaymentRow`] is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundTimes {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requested: BTreeMap<RefundId, Timestamp>,
    /// Since when each refund is paid out, or failed. An open refund has no entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settled: BTreeMap<RefundId, Timestamp>,
}

impl RefundTimes {
    /// Adds what an event that was recorded `now` changed. `before`: the payment before it.
    pub fn add(&mut self, before: Option<&Payment>, payment: &Payment, now: Timestamp) {
        let state_before = |id: RefundId| -> Option<RefundState> {
            before.and_then(|payment| payment.refund(id)).map(|refund| refund.state)
        };
        for refund in payment.refunds() {
            self.requested.entry(refund.refund_id).or_insert(now);
            if refund.state.is_open() {
                self.settled.remove(&refund.refund_id);
            } else if state_before(refund.refund_id) != Some(refund.state) {
                self.settled.insert(refund.refund_id, now);
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        ENTRY_BYTES * (self.requested.len() + self.settled.len())
    }
}
