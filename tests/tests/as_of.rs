//! Stock, orders and totals as of earlier instants, compared with a fold that knows only the stored JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Router, body::Body, http::Request};
use domain::{RecordedEvent, StreamName, Timestamp};
use fastrand::Rng;
use infra::clock::Clock;
use projectors::{
    as_of::{Totals, totals_at},
    by_stream::EventsByStream,
    replay::Workspace,
};
use query_api::{LogAccess, QueryApi, QueryApiOptions};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, Shop, line};

const SKUS: [&str; 3] = ["A", "B", "C"];
const INSTANTS: usize = 1_000;

/// A shop that has taken orders, and done something with most of them.
async fn shop(random: &mut Rng) -> Shop {
    let shop = Shop::open().await;
    for sku in SKUS {
        shop.receive(sku, 60).await;
    }
    for number in 0..60 {
        let (sku, quantity) = (*random.choice(&SKUS).unwrap(), random.u32(1..6));
        let answer = shop.place(&format!("order {number}"), &[line(sku, quantity, 250)]).await;
        if answer.status != 201 {
            continue;
        }
        let order = answer.json();
        let id = order["order_id"].as_str().unwrap().to_owned();
        let path = |step: &str| format!("/v1/orders/{id}/{step}");
        match random.u8(0..5) {
            0 => drop(shop.post(&path("cancel"), "cancel", json!({})).await.expect(200)),
            1 => shop.pay(&order).await,
            2 => {
                shop.pay(&order).await;
                shop.post(&path("shipments"), "ship", json!({})).await.expect(201);
            }
            3 => {
                shop.pay(&order).await;
                shop.post(&path("refunds"), "refund", json!({"amount": 100})).await.expect(201);
            }
            _ => {}
        }
        if random.u8(0..8) == 0 {
            let path = format!("/v1/stock/{sku}/adjustments");
            let adjusted = json!({"delta": 2, "reason": "found"});
            shop.post(&path, &format!("adjust {number}"), adjusted).await.expect(201);
        }
    }
    shop.until_all_reacted().await;
    shop
}

/// What the events up to an instant say.
#[derive(Debug, Default)]
struct Folded {
    stock: BTreeMap<String, (u64, i64, i64)>,
    orders: BTreeMap<String, (u64, &'static str, i64)>,
    captured: i128,
    refunded: i128,
}

impl Folded {
    fn of<'a>(events: impl Iterator<Item = &'a RecordedEvent>) -> Self {
        let mut folded = Self::default();
        events.for_each(|event| folded.add(event));
        folded
    }

    fn add(&mut self, event: &RecordedEvent) {
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        let number = |member: &str| data[member].as_i64().unwrap();
        match &event.stream {
            StreamName::Stock(sku) => {
                let (revision, on_hand, reserved) = self.stock.entry(sku.to_string()).or_default();
                *revision = event.revision;
                let (more_on_hand, more_reserved) = match &*event.type_name {
                    "stock.received.v1" | "stock.returned.v1" => (number("quantity"), 0),
                    "stock.adjusted.v1" => (number("delta"), 0),
                    "stock.reserved.v1" => (0, number("quantity")),
                    "stock.released.v1" => (0, -number("quantity")),
                    "stock.shipped.v1" => (-number("quantity"), -number("quantity")),
                    other => panic!("{other}"),
                };
                *on_hand += more_on_hand;
                *reserved += more_reserved;
            }
            StreamName::Order(id) => {
                let (revision, status, total) = self.orders.entry(id.to_string()).or_default();
                *revision = event.revision;
                match &*event.type_name {
                    "order.placed.v2" => (*status, *total) = ("placed", number("total")),
                    "order.allocated.v1" => *status = "allocated",
                    "order.rejected.v1" => *status = "rejected",
                    "order.cancelled.v2" => *status = "cancelled",
                    _ => {}
                }
            }
            StreamName::Payment(_) => match &*event.type_name {
                "payment.captured.v1" => self.captured += i128::from(number("amount")),
                "payment.refunded.v1" => self.refunded += i128::from(number("amount")),
                _ => {}
            },
            StreamName::Receipt(_) | StreamName::Exchange(_) => {}
        }
    }

    fn compare_totals(&self, totals: &Totals, at: Timestamp) {
        let mut by_status: BTreeMap<&str, i128> = BTreeMap::new();
        self.orders.values().for_each(|(_, status, _)| *by_status.entry(status).or_default() += 1);
        assert_eq!(totals.orders, by_status, "{at}");
        let sums = totals.currencies.get("GBP").copied().unwrap_or_default();
        let total: i128 = self.orders.values().map(|(_, _, total)| i128::from(*total)).sum();
        assert_eq!((sums.orders, sums.total), (self.orders.len() as i128, total), "{at}");
        assert_eq!((sums.captured, sums.refunded), (self.captured, self.refunded), "{at}");
        let units = |of: fn(&(u64, i64, i64)) -> i64| i128::from(self.stock.values().map(of).sum::<i64>());
        let expected = (self.stock.len() as i128, units(|it| it.1), units(|it| it.2));
        assert_eq!((totals.skus, totals.on_hand, totals.reserved), expected, "{at}");
    }
}

async fn get(router: &Router, uri: &str) -> Answer {
    let request = Request::get(uri).body(Body::empty()).unwrap();
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

/// Random instants between the first and the last event, and those of events.
fn instants(random: &mut Rng, events: &[RecordedEvent]) -> Vec<Timestamp> {
    let microseconds = |event: &RecordedEvent| event.recorded_at.as_microsecond();
    let (first, last) = (microseconds(&events[0]), microseconds(&events[events.len() - 1]));
    let anywhere = (0..INSTANTS / 2).map(|_| random.i64(first - 1..=last));
    let anywhere: Vec<i64> = anywhere.collect();
    let of_events = (0..INSTANTS / 2).map(|_| microseconds(random.choice(events).unwrap()));
    let all: BTreeSet<i64> = anywhere.into_iter().chain(of_events.collect::<Vec<_>>()).collect();
    all.into_iter().map(|at| Timestamp::from_microsecond(at).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_orders_and_totals_at_random_instants_equal_an_independent_fold() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let shop = shop(&mut random).await;
    let events = shop.log().await.0;
    let log = shop.events().log();
    let access = LogAccess::of(Arc::clone(&log));
    let options = QueryApiOptions::default();
    let api = QueryApi::new(Arc::clone(&shop.queries), None, access, Clock::system(), options);
    let router = query_api::router(api);
    let instants = instants(&mut random, &events);

    let directory = tempfile::tempdir().unwrap();
    let workspace = Workspace { memory_bytes_max: 16 << 10, ..Workspace::new(directory.path().to_owned()) };
    let mut by_stream =
        EventsByStream::read(&*log, Timestamp::MAX, &workspace, &|_| (), |_| Ok(())).await.unwrap();
    let (totals, faults) = totals_at(&mut by_stream, &instants).unwrap();
    assert_eq!((faults.count, totals.len()), (0, instants.len()));

    let orders: BTreeSet<String> = Folded::of(events.iter()).orders.into_keys().collect();
    let orders: Vec<String> = orders.into_iter().collect();
    for (at, totals) in instants.iter().zip(&totals) {
        let folded = Folded::of(events.iter().filter(|event| event.recorded_at <= *at));
        folded.compare_totals(totals, *at);
        let sku = *random.choice(&SKUS).unwrap();
        let stock = get(&router, &format!("/v1/stock/{sku}?at={at}")).await;
        match folded.stock.get(sku) {
            Some((revision, on_hand, reserved)) => {
                let available = on_hand - reserved;
                let expected = json!({"sku": sku, "on_hand": on_hand, "reserved": reserved,
                    "available": available, "revision": revision});
                let shown = stock.expect(200);
                for (member, value) in expected.as_object().unwrap() {
                    assert_eq!(&shown[member], value, "{member} of {sku} at {at}");
                }
            }
            None => drop(stock.problem(404, "not_found")),
        }
        let id = random.choice(&orders).unwrap();
        let order = get(&router, &format!("/v1/orders/{id}?at={at}")).await;
        match folded.orders.get(id) {
            Some((revision, status, total)) => {
                let shown = order.expect(200);
                assert_eq!(shown["revision"], *revision, "{id} at {at}");
                assert_eq!(
                    (&shown["status"], &shown["total"]),
                    (&json!(status), &json!(total)),
                    "{id} at {at}"
                );
            }
            None => drop(order.problem(404, "not_found")),
        }
    }
}

#[tokio::test]
async fn an_instant_and_a_revision_cannot_be_combined() {
    let shop = Shop::open().await;
    shop.receive("A", 1).await;
    let access = LogAccess::of(shop.events().log());
    let options = QueryApiOptions::default();
    let api = QueryApi::new(Arc::clone(&shop.queries), None, access, Clock::system(), options);
    let router = query_api::router(api);
    let both = get(&router, "/v1/stock/A?at=2026-01-01&min_revision=0").await;
    assert_eq!(both.invalid_fields(), ["at"]);
    assert_eq!(get(&router, "/v1/stock/A?at=noon").await.invalid_fields(), ["at"]);
    assert_eq!(get(&router, "/v1/stock/A?at=9999-01-01").await.expect(200)["on_hand"], 1);
}
