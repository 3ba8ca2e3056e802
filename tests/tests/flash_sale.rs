//! Many clients buy the same few SKUs at once until they are sold out, over HTTP against the whole platform.

mod eventstoredb;

use std::collections::{BTreeMap, HashMap};

use domain::{Event, EventId, OrderId, Sku, order::OrderStatus, stock::StockEvent};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Log, Shop, line};

const CLIENTS: usize = 64;

/// Each client places the orders that `next(client, number)` gives, one after another. Returns all answers.
async fn buy(shop: &Shop, next: impl Fn(usize, usize) -> Option<Vec<Value>>) -> Vec<Answer> {
    let client = async |client: usize| {
        let mut answers = Vec::new();
        while let Some(lines) = next(client, answers.len()) {
            let answer = shop.place(&format!("client {client} order {}", answers.len()), &lines).await;
            answers.push(answer);
        }
        answers
    };
    join_all((0..CLIENTS).map(client)).await.into_iter().flatten().collect()
}

fn sold(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 201).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_units_are_sold_exactly_once_and_the_other_orders_are_rejected() {
    let shop = Shop::open().await;
    shop.receive("hot", 1_000).await;
    // 64 clients place 20 orders each: 280 more than there are units.
    let answers = buy(&shop, |_, number| (number < 20).then(|| vec![line("hot", 1, 1_000)])).await;
    assert_eq!(sold(&answers), 1_000);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        let shortages = &answer.problem(409, "insufficient_stock")["shortages"];
        assert_eq!(*shortages, json!([{"sku": "hot", "requested": 1, "available": 0}]));
    }
    let log = shop.log().await;
    let stock = &log.walk_stock(|_, _, _| {})[&Sku::new("hot").unwrap()];
    assert_eq!((stock.levels().on_hand, stock.levels().reserved), (1_000, 1_000));
    assert!(stock.open_reservations().keys().all(|id| log.order(*id).status() == OrderStatus::Allocated));
    assert_eq!(stock.open_reservations().len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_several_skus_never_oversell_and_every_shortage_is_true() {
    const SKUS: [(&str, u32); 5] = [("a", 200), ("b", 150), ("c", 300), ("d", 100), ("e", 250)];
    let shop = Shop::open().await;
    for (sku, quantity) in SKUS {
        shop.receive(sku, quantity).await;
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let basket = |client: usize, number: usize| {
        let mut random = fastrand::Rng::with_seed(seed ^ (client as u64) << 32 ^ number as u64);
        let skus = random.choose_multiple(SKUS.iter(), 3);
        (number < 10).then(|| skus.iter().map(|(sku, _)| line(sku, random.u32(1..=3), 100)).collect())
    };
    let answers = buy(&shop, basket).await;
    assert!((1..answers.len()).contains(&sold(&answers)), "{} of {}", sold(&answers), answers.len());
    let log = shop.until("rejected orders hold no stock", |log| log.loose_reservations().is_empty());
    assert_every_shortage_was_true(&log.await, &answers);

    // The remaining units can be bought, and not one more.
    let stock = shop.log().await.walk_stock(|_, _, _| {});
    let left: BTreeMap<&str, u32> =
        SKUS.iter().map(|(sku, _)| (*sku, stock[&Sku::new(sku).unwrap()].levels().available())).collect();
    for (sku, available) in left {
        for number in 0..=available {
            let answer = shop.place(&format!("sweep {sku} {number}"), &[line(sku, 1, 100)]).await;
            assert_eq!(answer.status, if number < available { 201 } else { 409 }, "{sku}: {}", answer.text());
        }
    }
    let log = shop.log().await;
    for (sku, stock) in log.walk_stock(|_, _, _| {}) {
        assert_eq!(stock.levels().available(), 0, "{sku}");
        let held: u32 = stock.open_reservations().values().map(|held| held.quantity).sum();
        assert_eq!(held, stock.levels().reserved);
    }
}

/// Checks each shortage in the answers against the log. A refused reservation leaves no event, so the log
/// does not show the revision of its decision. It was decided after the order was placed and before it was
/// rejected. At some position in between, the SKU must have had exactly the available units of the answer,
/// and fewer than requested.
fn assert_every_shortage_was_true(log: &Log, answers: &[Answer]) {
    let mut history: HashMap<Sku, Vec<(u64, u32)>> = HashMap::new();
    log.walk_stock(|event, sku, before| {
        let Ok(Event::Stock(stock_event)) = event.decode() else { return };
        let available = before.levels().available();
        let after = match stock_event {
            StockEvent::Received(received) => available + received.quantity,
            StockEvent::Reserved(reserved) => available - reserved.quantity,
            StockEvent::Released(released) => available + released.quantity,
            other => panic!("{other:?}"),
        };
        history.entry(sku.clone()).or_default().push((event.position, after));
    });
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        let problem = answer.problem(409, "insufficient_stock");
        let order: OrderId = problem["order_id"].as_str().unwrap().parse().unwrap();
        let (placed, rejected) = (log.of(order)[0].position, log.of(order)[1].position);
        let shortages = problem["shortages"].as_array().unwrap();
        assert!(!shortages.is_empty());
        for shortage in shortages {
            let (requested, available) = (shortage["requested"].as_u64(), shortage["available"].as_u64());
            assert!(available < requested, "{problem}");
            let steps = &history[&Sku::new(shortage["sku"].as_str().unwrap()).unwrap()];
            let holds_until = steps.iter().skip(1).map(|(position, _)| *position).chain([u64::MAX]);
            let mut spans = steps.iter().zip(holds_until);
            let was_true = spans.any(|((from, level), until)| {
                Some(u64::from(*level)) == available && *from < rejected && until > placed
            });
            assert!(was_true, "at no position between {placed} and {rejected}: {problem}");
        }
    }
    let events: Vec<EventId> = log.0.iter().map(|event| event.id).collect();
    let distinct: std::collections::HashSet<_> = events.iter().collect();
    assert_eq!(distinct.len(), events.len(), "an event was recorded twice");
}
