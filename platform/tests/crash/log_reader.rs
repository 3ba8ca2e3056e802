//! Folds the log while the server writes to it, and lists what its reactions have not finished.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    time::Duration,
};

use domain::{
    Decider, Event, EventId, OrderId, PaymentId, RecordedEvent, Revision, Sku, StreamName,
    order::{Order, OrderDecider, OrderStatus},
    payment::{Payment, PaymentDecider, RefundState},
    receipt::ReceiptEvent,
    stock::{Stock, StockDecider, StockEvent},
};
use infra::event_store::{EventLog, sqlite::SqliteEventLog};

/// Time limit after a restart for the reactions that a crash has cut off.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct LogReader {
    log: SqliteEventLog,
    position: Option<u64>,
    revisions: HashMap<StreamName, Revision>,
    event_ids: HashSet<EventId>,
    received: BTreeMap<Sku, u32>,
    stock: HashMap<Sku, Stock>,
    payments: HashMap<PaymentId, Payment>,
    pub orders: HashMap<OrderId, Order>,
}

impl LogReader {
    pub fn open(path: &Path) -> Self {
        Self {
            log: SqliteEventLog::open_read_only(path).unwrap(),
            position: None,
            revisions: HashMap::new(),
            event_ids: HashSet::new(),
            received: BTreeMap::new(),
            stock: HashMap::new(),
            payments: HashMap::new(),
            orders: HashMap::new(),
        }
    }

    /// Waits until every reaction to the events of the log has finished.
    pub async fn wait_until_drained(&mut self) {
        let waiting = async {
            loop {
                self.catch_up().await;
                if self.unfinished().is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // After a time-out the assertion lists what is left.
        let _ = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(self.unfinished().is_empty(), "left after {PATIENCE:?}:\n{}", self.unfinished().join("\n"));
    }

    async fn catch_up(&mut self) {
        loop {
            let events = self.log.read_all(self.position, 5_000).await.unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                self.apply(event);
            }
        }
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        self.position = Some(recorded.position);
        assert!(self.event_ids.insert(recorded.id), "recorded twice: {recorded:?}");
        let next = self.revisions.get(&recorded.stream).map_or(0, |revision| revision + 1);
        assert_eq!(recorded.revision, next, "a gap in {}", recorded.stream);
        self.revisions.insert(recorded.stream.clone(), next);
        match (&recorded.stream, recorded.decode().unwrap()) {
            (StreamName::Stock(sku), Event::Stock(event)) => {
                // An accepted receipt of several SKUs was counted by its own event.
                let accepted = recorded.decode_metadata().unwrap().command == "stock.receive_accepted";
                if let StockEvent::Received(received) = &event
                    && !accepted
                {
                    *self.received.entry(sku.clone()).or_default() += received.quantity;
                }
                let stock = self.stock.entry(sku.clone()).or_default();
                // Asserts that `reserved` never exceeds `on_hand`.
                StockDecider::evolve(stock, &event);
            }
            (StreamName::Order(id), Event::Order(event)) => {
                OrderDecider::evolve(self.orders.entry(*id).or_default(), &event);
            }
            (StreamName::Payment(id), Event::Payment(event)) => {
                PaymentDecider::evolve(self.payments.entry(*id).or_default(), &event);
            }
            (StreamName::Receipt(_), Event::Receipt(ReceiptEvent::Accepted(accepted))) => {
                for item in accepted.items {
                    *self.received.entry(item.sku).or_default() += item.quantity;
                }
            }
            (stream, event) => panic!("{event:?} in {stream}"),
        }
    }

    /// Stock and payments that differ from what the orders require.
    fn unfinished(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut held: HashMap<(Sku, OrderId), u32> = HashMap::new();
        let mut on_hand = self.received.clone();
        for (id, order) in &self.orders {
            if order.status() == OrderStatus::Placed {
                found.push(format!("order {id} is still placed"));
            }
            let is_held = order.status() == OrderStatus::Allocated;
            for line in order.lines() {
                let stock = on_hand.entry(line.sku.clone()).or_default();
                *stock = *stock + line.returned - line.shipped;
                if is_held && line.open() > 0 {
                    *held.entry((line.sku.clone(), *id)).or_default() += line.open();
                }
            }
            if let Some(payment_id) = order.payment_id() {
                let payment = self.payments.get(&payment_id);
                found.extend(
                    unfinished_payment(order, payment).map(|what| format!("payment of order {id}: {what}")),
                );
            }
        }
        for (sku, stock) in &self.stock {
            if stock.levels().on_hand != on_hand[sku] {
                found.push(format!(
                    "{sku}: {} on hand, by its orders {}",
                    stock.levels().on_hand,
                    on_hand[sku]
                ));
            }
            for (order, reservation) in stock.open_reservations() {
                if held.remove(&(sku.clone(), *order)) != Some(reservation.quantity) {
                    found.push(format!("{sku}: {} held for order {order}", reservation.quantity));
                }
            }
        }
        found.extend(
            held.iter().map(|((sku, order), units)| format!("{sku}: {units} not held for order {order}")),
        );
        found
    }
}

fn unfinished_payment(order: &Order, payment: Option<&Payment>) -> Option<&'static str> {
    let Some(payment) = payment else { return Some("not requested") };
    let refunds = payment.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
    let refunded: i64 = refunds.map(|refund| refund.amount.minor_units()).sum();
    let in_time = payment.captured().saturating_sub(payment.captured_late());
    let kept = in_time.minor_units() - refunded;
    if payment.captured() != order.captured() {
        Some("captured, but not recorded on the order")
    } else if order.status().is_final() && !payment.is_closed() {
        Some("not closed")
    } else if kept > order.owed().minor_units() {
        Some("not refunded")
    } else {
        None
    }
}
