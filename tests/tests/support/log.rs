//! A whole event log, and the aggregates folded from it.

use std::collections::HashMap;

use domain::{
    Decider, Event, EventMetadata, OrderId, PaymentId, RecordedEvent, Sku, StreamName,
    decider::StoredEvent,
    order::{Order, OrderDecider},
    payment::{Payment, PaymentDecider},
    stock::{Stock, StockDecider},
};
use infra::event_store::{EventLog, ReadError};

use super::eventually;

/// A whole event log, read at one moment.
#[derive(Debug, Clone)]
pub struct Log(pub Vec<RecordedEvent>);

impl Log {
    /// Waits while the store is unavailable, for example after a fault that a test made.
    pub async fn read(log: &dyn EventLog) -> Self {
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = events.last().map(|last| last.position);
            let page = eventually("the event store is available", async || {
                match log.read_all(after, 10_000).await {
                    Ok(page) => Some(page),
                    Err(ReadError::Unavailable(_)) => None,
                    Err(other) => panic!("{other}"),
                }
            });
            let page = page.await;
            if page.is_empty() {
                return Self(events);
            }
            events.extend(page);
        }
    }

    pub fn of(&self, stream: impl Into<StreamName>) -> Vec<&RecordedEvent> {
        let stream = stream.into();
        self.0.iter().filter(|event| event.stream == stream).collect()
    }

    /// The stored names of a stream's events, in order.
    pub fn types(&self, stream: impl Into<StreamName>) -> Vec<String> {
        self.of(stream).iter().map(|event| event.type_name.to_string()).collect()
    }

    pub fn count(&self, type_name: &str) -> usize {
        self.0.iter().filter(|event| &*event.type_name == type_name).count()
    }

    pub fn first(&self, type_name: &str) -> &RecordedEvent {
        self.0.iter().find(|event| &*event.type_name == type_name).unwrap()
    }

    pub fn stock(&self, sku: &str) -> Stock {
        self.fold::<StockDecider>(Sku::new(sku).unwrap())
    }

    pub fn order(&self, id: OrderId) -> Order {
        self.fold::<OrderDecider>(id)
    }

    pub fn payment(&self, id: PaymentId) -> Payment {
        self.fold::<PaymentDecider>(id)
    }

    pub fn orders(&self) -> Vec<OrderId> {
        let placed = self.0.iter().filter(|event| &*event.type_name == "order.placed.v2");
        placed
            .map(|event| match event.stream {
                StreamName::Order(id) => id,
                _ => panic!("an order event in {}", event.stream),
            })
            .collect()
    }

    fn fold<A: Decider>(&self, id: A::Id) -> A::State {
        let mut state = A::State::default();
        for recorded in self.of(id) {
            A::evolve(&mut state, &A::Event::from_json(&recorded.type_name, &recorded.data).unwrap());
        }
        state
    }

    /// Folds every SKU event by event, and asserts after each event that reserved does not exceed on hand.
    /// `look` gets each event with the state of the SKU before it.
    pub fn walk_stock(&self, mut look: impl FnMut(&RecordedEvent, &Sku, &Stock)) -> HashMap<Sku, Stock> {
        let mut stock: HashMap<Sku, Stock> = HashMap::new();
        for recorded in &self.0 {
            let (StreamName::Stock(sku), Event::Stock(event)) =
                (&recorded.stream, recorded.decode().unwrap())
            else {
                continue;
            };
            let state = stock.entry(sku.clone()).or_default();
            look(recorded, sku, state);
            StockDecider::evolve(state, &event);
            let levels = state.levels();
            assert!(levels.reserved <= levels.on_hand, "{sku} oversold at position {}", recorded.position);
        }
        stock
    }

    /// Folds every order.
    pub fn walk_orders(&self) -> HashMap<OrderId, Order> {
        let mut orders: HashMap<OrderId, Order> = HashMap::new();
        for recorded in &self.0 {
            if let (StreamName::Order(id), Event::Order(event)) =
                (&recorded.stream, recorded.decode().unwrap())
            {
                OrderDecider::evolve(orders.entry(*id).or_default(), &event);
            }
        }
        orders
    }

    /// The open reservations of orders that are `placed`, have ended or do not exist: a finished platform has
    /// none.
    pub fn loose_reservations(&self) -> Vec<(Sku, OrderId)> {
        let stock = self.walk_stock(|_, _, _| {});
        let open = stock.iter().flat_map(|(sku, stock)| {
            stock.open_reservations().keys().map(move |order| (sku.clone(), *order))
        });
        let statuses = self.walk_orders();
        let is_loose = |order: &OrderId| {
            statuses.get(order).is_none_or(|order| {
                order.status().is_final() || order.status() == domain::order::OrderStatus::Placed
            })
        };
        open.filter(|(_, order)| is_loose(order)).collect()
    }
}

pub fn metadata(event: &RecordedEvent) -> EventMetadata {
    event.decode_metadata().unwrap()
}
