//! Two commands on one order at the same instant, on two threads. Whichever comes first, the order must end in a
//! state that the two could also have brought about one after the other.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use tokio::sync::{Barrier, watch};
use tokio_util::sync::CancellationToken;

use super::*;

const ROUNDS: usize = 64;

/// The two that race.
#[derive(Clone, Copy)]
enum Command {
    Cancel,
    Capture,
    Ship(Option<u32>),
    Return,
    Refund,
}

impl Command {
    async fn send(self, shop: &Shop, placed: &Placed, key: &str) -> Answer {
        match self {
            Self::Cancel => placed.post(shop, "cancel", key, json!({})).await,
            Self::Capture => placed.pay(shop, "capture", json!({})).await,
            Self::Ship(None) => placed.post(shop, "shipments", key, json!({})).await,
            Self::Ship(Some(quantity)) => placed.post(shop, "shipments", key, mugs(quantity)).await,
            Self::Return => placed.post(shop, "returns", key, mugs(2)).await,
            Self::Refund => placed.post(shop, "refunds", key, json!({"amount": 300})).await,
        }
    }
}

/// How long the one that is late waits.
#[derive(Clone, Copy)]
enum Late {
    NotAtAll,
    /// So many turns of the scheduler.
    Turns(usize),
    /// Until something is durable: the other one is half-way.
    AnEvent,
    /// Until the other one has its answer, so that each has come first for certain.
    AnAnswer,
}

impl Late {
    fn of(round: usize) -> Self {
        [Self::NotAtAll, Self::Turns(round), Self::AnEvent, Self::AnAnswer][round / 2 % 4]
    }

    async fn wait(self, mut head: watch::Receiver<Option<u64>>, other: &CancellationToken) {
        match self {
            Self::NotAtAll => {}
            Self::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Self::AnEvent => tokio::select! {
                _ = head.changed() => {}
                () = other.cancelled() => {}
            },
            Self::AnAnswer => other.cancelled().await,
        }
    }
}

/// How an order comes to the start.
#[derive(Clone, Copy)]
enum Start {
    Authorized,
    Paid,
    /// Two mugs of four.
    ShippedInPart,
}

impl Start {
    async fn reach(self, shop: &Shop, sku: &str) -> Placed {
        match self {
            Self::Authorized => {
                let placed = Placed::basket(shop, sku, &[]).await;
                placed.pay(shop, "authorize", json!({})).await.expect(200);
                placed
            }
            Self::Paid => Placed::paid(shop, sku).await,
            Self::ShippedInPart => {
                let placed = Placed::paid(shop, sku).await;
                placed.post(shop, "shipments", "before", mugs(2)).await.expect(201);
                placed
            }
        }
    }
}

/// One end of a race: both answers, then what has become of order, mugs and money.
fn end(log: &Log, placed: &Placed, answers: [&Answer; 2]) -> String {
    let told = answers.map(|answer| match answer.status.as_u16() {
        200 | 201 => "done".to_owned(),
        _ => answer.json()["code"].as_str().unwrap().to_owned(),
    });
    let order = log.order(placed.order_id);
    let stock = log.stock(&placed.sku).levels();
    let payment = payment_of(log, &order);
    assert_eq!(order.captured(), payment.captured());
    // Whether it was before it ended, if it has ended.
    let paid = if order.is_paid() { "paid" } else { "unpaid" };
    let void = if payment.void_requested() { ", void asked" } else { "" };
    format!(
        "{}, {}: {paid} {}, {}, {} on hand, {} reserved, captured {}, asked back {}{void}",
        told[0],
        told[1],
        order.status().as_str(),
        order.fulfilment_status().as_str(),
        stock.on_hand,
        stock.reserved,
        payment.captured(),
        asked_back(&payment),
    )
}

/// Races two commands over many orders; they take turns in being late, and in how late. Every end must be one of `ends`: those that the first command brings about where it comes first, then those of the second.
/// Both must have come first.
async fn race(start: Start, commands: [Command; 2], ends: [&[&str]; 2]) {
    let shop = Arc::new(Shop::open().await);
    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        let placed = Arc::new(start.reach(&shop, &format!("mug-{round}")).await);
        let line = Arc::new(Barrier::new(2));
        let answered = [0, 1].map(|_| CancellationToken::new());
        let runners = [0, 1].map(|runner| {
            let (shop, placed, line) = (shop.clone(), placed.clone(), line.clone());
            let (mine, other) = (answered[runner].clone(), answered[1 - runner].clone());
            let late = if round % 2 == runner { Late::of(round) } else { Late::NotAtAll };
            let mut head = shop.events().head();
            head.mark_unchanged();
            tokio::spawn(async move {
                line.wait().await;
                late.wait(head, &other).await;
                let answer = commands[runner].send(&shop, &placed, &format!("runner {runner}")).await;
                mine.cancel();
                answer
            })
        });
        let answers = join_all(runners).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        runs.push((placed, answers));
    }
    let log = settled(&shop).await;
    log.walk_stock(|_, _, _| {});
    assert_eq!(log.loose_reservations(), []);
    let seen: BTreeSet<String> =
        runs.iter().map(|(placed, answers)| end(&log, placed, [&answers[0], &answers[1]])).collect();
    for end in &seen {
        assert!(ends.concat().contains(&end.as_str()), "not allowed: {end}\n{seen:#?}");
    }
    for first in ends {
        assert!(first.iter().any(|end| seen.contains(*end)), "never seen: {first:?}\n{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_capture_that_races_a_cancellation_is_given_back_or_refused() {
    let refused = "done, payment_closed: unpaid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 0, asked back 0, void asked";
    // It came after the order was cancelled, and before its payment was closed.
    let in_between =
        "done, done: unpaid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    let came_first =
        "done, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    race(Start::Authorized, [Command::Cancel, Command::Capture], [&[refused, in_between], &[came_first]])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shipment_that_races_a_cancellation_leaves_the_house_or_does_not() {
    let shipped =
        "done, nothing_to_cancel: paid allocated, shipped, 6 on hand, 0 reserved, captured 450, asked back 0";
    let cancelled = "order_status, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    race(Start::Paid, [Command::Ship(None), Command::Cancel], [&[shipped], &[cancelled]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_part_shipment_that_races_a_cancellation_is_kept_and_paid_or_does_not_leave() {
    let shipped = "done, done: paid cancelled, shipped, 7 on hand, 0 reserved, captured 450, asked back 150";
    let cancelled = "order_status, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    race(Start::Paid, [Command::Ship(Some(3)), Command::Cancel], [&[shipped], &[cancelled]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shipment_that_races_a_capture_waits_for_all_the_money() {
    let shipped = "done, done: paid allocated, shipped, 6 on hand, 0 reserved, captured 450, asked back 0";
    let too_early = "order_not_paid, done: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, asked back 0";
    race(Start::Authorized, [Command::Ship(None), Command::Capture], [&[too_early], &[shipped]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn goods_that_come_back_twice_at_once_are_taken_once() {
    let first = "done, quantity_unavailable: paid allocated, partially_returned, 10 on hand, 2 reserved, captured 450, asked back 200";
    let second = "quantity_unavailable, done: paid allocated, partially_returned, 10 on hand, 2 reserved, captured 450, asked back 200";
    race(Start::ShippedInPart, [Command::Return, Command::Return], [&[first], &[second]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_refunds_at_once_do_not_give_back_more_than_was_paid() {
    let first = "done, refund_too_large: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, asked back 300";
    let second = "refund_too_large, done: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, asked back 300";
    race(Start::Paid, [Command::Refund, Command::Refund], [&[first], &[second]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refund_or_a_return_that_races_a_cancellation_gives_nothing_back_twice() {
    let both =
        "done, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    let cancelled = "refund_too_large, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, asked back 450";
    race(Start::Paid, [Command::Refund, Command::Cancel], [&[both], &[cancelled]]).await;
    // Two mugs and postage are cancelled, two came back: in any order, all of the money.
    let both = "done, done: paid cancelled, returned, 10 on hand, 0 reserved, captured 450, asked back 450";
    race(Start::ShippedInPart, [Command::Return, Command::Cancel], [&[both], &[both]]).await;
}
