//! Two commands on one order at the same instant, on two threads. The order must end in a state that the
//! commands could also have reached one after the other, in either order.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use tokio::sync::{Barrier, watch};
use tokio_util::sync::CancellationToken;

use super::*;

const ROUNDS: usize = 64;

/// A command that races another one.
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

/// How long a command is delayed.
#[derive(Clone, Copy)]
enum Delay {
    None,
    /// This many turns of the scheduler.
    Turns(usize),
    /// Until the next event is durable, while the other command is not yet answered.
    UntilAnEvent,
    /// Until the other command is answered. So each command comes first in some rounds.
    UntilAnAnswer,
}

impl Delay {
    fn of(round: usize) -> Self {
        [Self::None, Self::Turns(round), Self::UntilAnEvent, Self::UntilAnAnswer][round / 2 % 4]
    }

    async fn wait(self, mut head: watch::Receiver<Option<u64>>, other: &CancellationToken) {
        match self {
            Self::None => {}
            Self::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Self::UntilAnEvent => tokio::select! {
                _ = head.changed() => {}
                () = other.cancelled() => {}
            },
            Self::UntilAnAnswer => other.cancelled().await,
        }
    }
}

/// The state of an order before the race.
#[derive(Clone, Copy)]
enum Start {
    Authorized,
    Paid,
    /// Two of four mugs are shipped.
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

/// The end of a race: both answers, then the state of order, stock and payment.
fn end(log: &Log, placed: &Placed, answers: [&Answer; 2]) -> String {
    let outcomes = answers.map(|answer| match answer.status.as_u16() {
        200 | 201 => "done".to_owned(),
        _ => answer.json()["code"].as_str().unwrap().to_owned(),
    });
    let order = log.order(placed.order_id);
    let stock = log.stock(&placed.sku).levels();
    let payment = payment_of(log, &order);
    assert_eq!(order.captured(), payment.captured());
    // An ended order keeps whether it was paid before it ended.
    let paid = if order.is_paid() { "paid" } else { "unpaid" };
    let void = if payment.void_requested() { ", to void" } else { "" };
    format!(
        "{}, {}: {paid} {}, {}, {} on hand, {} reserved, captured {}, to refund {}{void}",
        outcomes[0],
        outcomes[1],
        order.status().as_str(),
        order.fulfilment_status().as_str(),
        stock.on_hand,
        stock.reserved,
        payment.captured(),
        amount_to_refund(&payment),
    )
}

/// Races two commands over [`ROUNDS`] orders, with alternating delays. `ends` lists the allowed ends: those
/// when the first command comes first, then those when the second does. Each command must come first in some
/// round.
async fn race(start: Start, commands: [Command; 2], ends: [&[&str]; 2]) {
    let shop = Arc::new(Shop::open().await);
    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        let placed = Arc::new(start.reach(&shop, &format!("mug-{round}")).await);
        let barrier = Arc::new(Barrier::new(2));
        let answered = [0, 1].map(|_| CancellationToken::new());
        let runners = [0, 1].map(|runner| {
            let (shop, placed, barrier) = (shop.clone(), placed.clone(), barrier.clone());
            let (own_answered, other_answered) = (answered[runner].clone(), answered[1 - runner].clone());
            // Even rounds delay the first command, odd rounds the second.
            let delay = if round % 2 == runner { Delay::of(round) } else { Delay::None };
            let mut head = shop.events().head();
            head.mark_unchanged();
            tokio::spawn(async move {
                barrier.wait().await;
                delay.wait(head, &other_answered).await;
                let answer = commands[runner].send(&shop, &placed, &format!("runner {runner}")).await;
                own_answered.cancel();
                answer
            })
        });
        let answers = join_all(runners).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        runs.push((placed, answers));
    }
    let log = shop.until_all_reacted().await;
    log.walk_stock(|_, _, _| {});
    assert_eq!(log.loose_reservations(), []);
    let seen: BTreeSet<String> =
        runs.iter().map(|(placed, answers)| end(&log, placed, [&answers[0], &answers[1]])).collect();
    for found in &seen {
        assert!(ends.concat().contains(&found.as_str()), "this end is not allowed: {found}\n{seen:#?}");
    }
    for group in ends {
        assert!(group.iter().any(|end| seen.contains(*end)), "no race ended in any of: {group:?}\n{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_capture_that_races_a_cancellation_is_refunded_or_refused() {
    let refused = "done, payment_closed: unpaid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 0, to refund 0, to void";
    // The capture came after the order was cancelled and before its payment was closed.
    let in_between =
        "done, done: unpaid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    let came_first =
        "done, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    race(Start::Authorized, [Command::Cancel, Command::Capture], [&[refused, in_between], &[came_first]])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shipment_that_races_a_cancellation_is_shipped_or_refused() {
    let shipped =
        "done, nothing_to_cancel: paid allocated, shipped, 6 on hand, 0 reserved, captured 450, to refund 0";
    let cancelled = "order_status, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    race(Start::Paid, [Command::Ship(None), Command::Cancel], [&[shipped], &[cancelled]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_part_shipment_that_races_a_cancellation_is_shipped_and_paid_or_refused() {
    let shipped = "done, done: paid cancelled, shipped, 7 on hand, 0 reserved, captured 450, to refund 150";
    let cancelled = "order_status, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    race(Start::Paid, [Command::Ship(Some(3)), Command::Cancel], [&[shipped], &[cancelled]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shipment_that_races_a_capture_needs_the_whole_capture() {
    let shipped = "done, done: paid allocated, shipped, 6 on hand, 0 reserved, captured 450, to refund 0";
    let too_early = "order_not_paid, done: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, to refund 0";
    race(Start::Authorized, [Command::Ship(None), Command::Capture], [&[too_early], &[shipped]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_returns_of_the_same_goods_are_accepted_once() {
    let first = "done, quantity_unavailable: paid allocated, partially_returned, 10 on hand, 2 reserved, captured 450, to refund 200";
    let second = "quantity_unavailable, done: paid allocated, partially_returned, 10 on hand, 2 reserved, captured 450, to refund 200";
    race(Start::ShippedInPart, [Command::Return, Command::Return], [&[first], &[second]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_refunds_at_once_do_not_exceed_the_captured_amount() {
    let first = "done, refund_too_large: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, to refund 300";
    let second = "refund_too_large, done: paid allocated, unfulfilled, 10 on hand, 4 reserved, captured 450, to refund 300";
    race(Start::Paid, [Command::Refund, Command::Refund], [&[first], &[second]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refund_or_return_that_races_a_cancellation_refunds_nothing_twice() {
    let both = "done, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    let cancelled = "refund_too_large, done: paid cancelled, unfulfilled, 10 on hand, 0 reserved, captured 450, to refund 450";
    race(Start::Paid, [Command::Refund, Command::Cancel], [&[both], &[cancelled]]).await;
    // Two mugs and postage are cancelled, two mugs are returned: in either order, all money is refunded.
    let returned =
        "done, done: paid cancelled, returned, 10 on hand, 0 reserved, captured 450, to refund 450";
    race(Start::ShippedInPart, [Command::Return, Command::Cancel], [&[returned], &[returned]]).await;
}
