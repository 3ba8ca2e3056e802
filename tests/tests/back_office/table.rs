//! Every command at every stage of an order, compared with the table `consequences.txt`.

use super::*;
use crate::support::ShopOptions;

/// The stage of an order before the command.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Placed,
    Allocated,
    Authorized,
    CapturedInPart,
    Paid,
    ShippedInPart,
    Shipped,
    Delivered,
    ReturnedInPart,
    Returned,
    Rejected,
    Failed,
    CancelledUnpaid,
    CancelledPaid,
    CancelledAfterPart,
}

impl Stage {
    const ALL: [Self; 15] = [
        Self::Placed,
        Self::Allocated,
        Self::Authorized,
        Self::CapturedInPart,
        Self::Paid,
        Self::ShippedInPart,
        Self::Shipped,
        Self::Delivered,
        Self::ReturnedInPart,
        Self::Returned,
        Self::Rejected,
        Self::Failed,
        Self::CancelledUnpaid,
        Self::CancelledPaid,
        Self::CancelledAfterPart,
    ];

    /// Brings a new order to this stage. Returns it and the id of its first shipment, or the nil id.
    async fn reach(self, shop: &Shop, sku: &str) -> (Placed, Value) {
        let respond_async = [("prefer", "respond-async")];
        let placed = match self {
            Self::Placed => Placed::basket(shop, sku, &respond_async).await,
            Self::Rejected => Placed::basket_of(shop, sku, ON_HAND + 1, &[]).await,
            _ => Placed::basket(shop, sku, &[]).await,
        };
        if self.is_paid() {
            shop.pay(&placed.order).await;
        }
        match self {
            Self::Placed | Self::Allocated | Self::Rejected | Self::Paid => {}
            Self::Failed => {
                placed.pay(shop, "fail", json!({})).await.expect(200);
            }
            Self::Authorized => {
                placed.pay(shop, "authorize", json!({})).await.expect(200);
            }
            Self::CapturedInPart => {
                placed.pay(shop, "authorize", json!({})).await.expect(200);
                placed.pay(shop, "capture", json!({"amount": 200})).await.expect(200);
            }
            Self::CancelledUnpaid | Self::CancelledPaid => {
                placed.post(shop, "cancel", "before", json!({})).await.expect(200);
            }
            Self::ShippedInPart | Self::CancelledAfterPart => {
                let shipped = placed.post(shop, "shipments", "before", mugs(3)).await.expect(201);
                if self == Self::CancelledAfterPart {
                    placed.post(shop, "cancel", "before", json!({})).await.expect(200);
                }
                return (placed, shipped["shipment_id"].clone());
            }
            Self::Shipped | Self::Delivered | Self::ReturnedInPart | Self::Returned => {
                let shipped = placed.post(shop, "shipments", "before", json!({})).await.expect(201);
                let shipment = shipped["shipment_id"].clone();
                if self != Self::Shipped {
                    let body = json!({"shipment_id": shipment});
                    placed.post(shop, "deliveries", "before", body).await.expect(200);
                }
                if self == Self::ReturnedInPart {
                    placed.post(shop, "returns", "before", mugs(1)).await.expect(201);
                }
                if self == Self::Returned {
                    let all = json!({"lines": [{"line": 1, "quantity": 4}, {"line": 2, "quantity": 1}]});
                    placed.post(shop, "returns", "before", all).await.expect(201);
                }
                return (placed, shipment);
            }
        }
        (placed, json!("00000000-0000-0000-0000-000000000000"))
    }

    fn is_paid(self) -> bool {
        match self {
            Self::Placed
            | Self::Allocated
            | Self::Authorized
            | Self::CapturedInPart
            | Self::Rejected
            | Self::Failed
            | Self::CancelledUnpaid => false,
            Self::Paid
            | Self::ShippedInPart
            | Self::Shipped
            | Self::Delivered
            | Self::ReturnedInPart
            | Self::Returned
            | Self::CancelledPaid
            | Self::CancelledAfterPart => true,
        }
    }
}

const COMMANDS: [&str; 7] = ["cancel", "ship", "ship 2", "deliver", "return 1", "scrap 1", "refund 40"];

/// Sends a command twice under one key. Returns the answer: the status, and the code of a refusal. Both
/// answers must have the same status, and the same body if the command succeeds.
async fn send(shop: &Shop, placed: &Placed, shipment: &Value, command: &str) -> String {
    let (path, body) = match command {
        "cancel" => ("cancel", json!({})),
        "ship" => ("shipments", json!({})),
        "ship 2" => ("shipments", mugs(2)),
        "deliver" => ("deliveries", json!({"shipment_id": shipment})),
        "return 1" => ("returns", mugs(1)),
        "scrap 1" => ("returns", json!({"lines": [{"line": 1, "quantity": 1, "restock": false}]})),
        "refund 40" => ("refunds", json!({"amount": 40})),
        other => panic!("no such command: {other}"),
    };
    let first = placed.post(shop, path, "command", body.clone()).await;
    let second = placed.post(shop, path, "command", body).await;
    assert_eq!(first.status, second.status, "{command}: {}, then {}", first.text(), second.text());
    if first.status.is_success() {
        assert_eq!(first.text(), second.text());
        return first.status.as_str().to_owned();
    }
    format!("{} {}", first.status.as_str(), first.json()["code"].as_str().unwrap())
}

/// The state of an order, its stock and its payment, as in the table.
fn outcome(log: &Log, placed: &Placed) -> String {
    let order = log.order(placed.order_id);
    let axes = [order.status().as_str(), order.payment_status().as_str(), order.fulfilment_status().as_str()];
    let stock = log.stock(&placed.sku).levels();
    let payment = payment_of(log, &order);
    let mut money = payment.state().as_str().to_owned();
    if payment.captured().is_positive() {
        money = format!("{money} {}", payment.captured());
    }
    if payment.void_requested() {
        money += ", to void";
    }
    if amount_to_refund(&payment).is_positive() {
        money = format!("{money}, to refund {}", amount_to_refund(&payment));
    }
    if payment.is_closed() {
        money += ", closed";
    }
    format!("{} | {}, {} | {money}", axes.join(", "), stock.on_hand, stock.reserved)
}

/// When the process manager starts.
#[derive(Clone, Copy, PartialEq)]
enum Reactions {
    /// All earlier events are reacted to before the command is sent.
    Before,
    /// No event is reacted to before the command is answered.
    After,
}

/// Runs every command at a stage. Returns the rows of the table.
async fn drive(stage: Stage, reactions: Reactions) -> Vec<String> {
    let process_manager = reactions == Reactions::Before;
    let mut shop = Shop::with(ShopOptions { process_manager, ..ShopOptions::default() }).await;
    let mut reached = Vec::new();
    for command in COMMANDS {
        let sku = format!("{stage:?}-{}", command.replace(' ', "-"));
        reached.push((command, stage.reach(&shop, &sku).await));
    }
    if reactions == Reactions::Before {
        shop.until_all_reacted().await;
    }
    let mut sent = Vec::new();
    for (command, (placed, shipment)) in reached {
        let answer = send(&shop, &placed, &shipment, command).await;
        sent.push((command, answer, placed));
    }
    if reactions == Reactions::After {
        shop.start_process_manager();
    }
    let log = shop.until_all_reacted().await;
    log.walk_stock(|_, _, _| {});
    assert_eq!(log.loose_reservations(), []);
    for (_, _, placed) in &sent {
        settle_money(&shop, &log, placed).await;
    }
    let rows = sent.into_iter().map(|(command, answer, placed)| {
        format!("{stage:?} | {command} | {answer} | {}", outcome(&log, &placed))
    });
    rows.collect()
}

/// Records all open voids and refunds as done, and asserts that order and payment then show the same amounts.
async fn settle_money(shop: &Shop, log: &Log, placed: &Placed) {
    let before = log.order(placed.order_id);
    let payment = payment_of(log, &before);
    if payment.void_requested() {
        placed.pay(shop, "void", json!({})).await.expect(200);
    }
    for refund in payment.refunds() {
        placed.pay(shop, &format!("refunds/{}/succeed", refund.refund_id), json!({})).await.expect(200);
    }
    let log = shop.log().await;
    let order = log.order(placed.order_id);
    let settled = payment_of(&log, &order);
    assert_eq!(order.status(), before.status());
    assert_eq!((order.captured(), order.refunded()), (settled.captured(), settled.refunded()));
    assert_eq!(settled.refunded(), amount_to_refund(&payment));
    assert!(!settled.is_closed() || !settled.capturable().is_positive(), "{settled:?}");
}

/// The table of expected effects. Its header explains the columns.
const CONSEQUENCES: &str = include_str!("consequences.txt");

/// The rows of these stages, each with the stage's name in front and single spaces.
fn expected_rows(stages: &[Stage]) -> Vec<String> {
    let mut rows = Vec::new();
    let mut stage = "";
    for line in CONSEQUENCES.lines().filter(|line| !line.is_empty()) {
        if line.starts_with(' ') {
            let words: Vec<_> = line.split_whitespace().collect();
            rows.push(format!("{stage} | {}", words.join(" ")));
        } else {
            stage = line;
        }
    }
    rows.retain(|row| stages.iter().any(|wanted| row.starts_with(&format!("{wanted:?} |"))));
    rows
}

async fn check(stages: &[Stage], reactions: Reactions) {
    let mut found = Vec::new();
    for stage in stages {
        found.extend(drive(*stage, reactions).await);
    }
    let expected = expected_rows(stages);
    let differing: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
    assert!(differing.is_empty(), "not in the table:\n{differing:#?}");
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn every_command_at_every_stage_has_the_expected_answer_and_effect() {
    // Without `Placed`: its reaction allocates the order before the command is sent.
    check(&Stage::ALL[1..], Reactions::Before).await;
}

#[tokio::test]
async fn late_reactions_change_neither_answer_nor_effect() {
    check(&Stage::ALL, Reactions::After).await;
}
