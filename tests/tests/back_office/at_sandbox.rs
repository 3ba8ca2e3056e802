//! The sequences of [`money`](super::money) with a payment provider: what the customer owes, and what the provider has
//! paid back.

use super::{
    money::{place, sales_when, units},
    *,
};
use crate::support::{TestSandbox, eventually};

/// What is done to a paid order: the end of the path, the body, and what the answer refunds.
type Step = (&'static str, Value, i64);

struct Sequence {
    name: &'static str,
    lines: &'static [(&'static str, u32, i64)],
    adjustments: Value,
    steps: Vec<Step>,
    owed: i64,
    refunded: i64,
}

fn charged(method: &str) -> Value {
    json!({"method": method})
}

fn payment_id(placed: &Placed) -> &str {
    placed.order["payment_id"].as_str().unwrap()
}

async fn place_charged(shop: &Shop, sequence: &Sequence) -> Placed {
    let placed = place(shop, sequence.name, sequence.lines, sequence.adjustments.clone()).await;
    shop.post(&format!("/v1/payments/{}/charge", payment_id(&placed)), sequence.name, charged("ok"))
        .await
        .expect(200);
    shop.until("it is paid", |log| log.order(placed.order_id).is_paid()).await;
    placed
}

async fn play(shop: &Shop, sandbox: &TestSandbox, sequence: Sequence) {
    let Sequence { name, ref steps, owed, refunded, .. } = sequence;
    let placed = place_charged(shop, &sequence).await;
    for (number, (what, body, expected)) in steps.iter().enumerate() {
        let answer = placed.post(shop, what, &format!("{name}/{number}"), body.clone()).await;
        assert!(answer.status.is_success(), "{name} {number}: {}", answer.text());
        let answer = answer.json();
        let refunds = answer["refunds"].as_array().into_iter().flatten();
        let refunds: i64 = refunds.map(|refund| refund["amount"].as_i64().unwrap()).sum();
        assert_eq!(refunds, *expected, "{name} {number}: {answer}");
    }
    let is_refunded = |order: &Order| order.refunded().minor_units() == refunded;
    let log = shop.until(name, |log| is_refunded(&log.order(placed.order_id))).await;
    let order = log.order(placed.order_id);
    assert_eq!((order.owed().minor_units(), order.amount_due().minor_units()), (owed, 0), "{name}");
    let at_sandbox = sandbox.charge(payment_id(&placed), 1).await;
    assert_eq!(at_sandbox.refunded.minor_units(), refunded, "{name}");
    assert_eq!(at_sandbox.captured.minor_units(), order.total().minor_units(), "{name}");
}

fn sequences() -> Vec<Sequence> {
    let ship_first = || ("shipments", units(&[(1, 1)]), 0);
    let ship_all = || ("shipments", json!({}), 0);
    let cancel = |refunded| ("cancel", json!({}), refunded);
    let tax = |amount: i64| json!({"kind": "tax", "code": "VAT20", "amount": amount});
    let voucher = |amount: i64| json!([{"code": "voucher", "amount": -amount}]);
    let of_line = json!({"amount": 500, "lines": [{"line": 2, "amount": 500}]});
    vec![
        Sequence {
            name: "each-return-takes-its-share-of-the-voucher",
            lines: &[("a", 2, 5000)],
            adjustments: voucher(3000),
            steps: vec![ship_all(), ("returns", units(&[(1, 1)]), 3500), ("returns", units(&[(1, 1)]), 3500)],
            owed: 0,
            refunded: 7000,
        },
        Sequence {
            name: "tax-of-goods-that-are-not-delivered-goes-back",
            lines: &[("a", 1, 1000), ("b", 1, 9000)],
            adjustments: json!([tax(2000)]),
            steps: vec![ship_first(), cancel(10_800)],
            owed: 1200,
            refunded: 10_800,
        },
        Sequence {
            name: "tax-of-returned-goods-goes-back-and-shipping-stays",
            lines: &[("a", 2, 1000)],
            adjustments: json!([tax(400), {"kind": "shipping", "code": "DHL", "amount": 500}]),
            steps: vec![ship_all(), ("returns", units(&[(1, 2)]), 2400)],
            owed: 500,
            refunded: 2400,
        },
        Sequence {
            name: "a-voucher-gives-no-goods-away",
            lines: &[("a", 1, 1000), ("b", 1, 9000)],
            adjustments: voucher(5000),
            steps: vec![ship_first(), cancel(4500)],
            owed: 500,
            refunded: 4500,
        },
        Sequence {
            name: "money-refunded-for-a-line-is-not-paid-again",
            lines: &[("a", 1, 500), ("b", 1, 500)],
            adjustments: json!([]),
            steps: vec![ship_first(), ("refunds", of_line, 500), cancel(0)],
            owed: 500,
            refunded: 500,
        },
    ]
}

#[tokio::test]
async fn the_provider_pays_back_exactly_what_units_are_worth_that_leave_an_order() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    for sequence in sequences() {
        play(&shop, &sandbox, sequence).await;
    }
}

#[tokio::test]
async fn a_charge_that_is_captured_refunded_and_captured_again_pays_only_the_net_amount() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = place(&shop, "net", &[("a", 1, 1000)], json!([])).await;
    let manual = json!({"method": "ok", "capture": "manual"});
    placed.pay(&shop, "charge", manual).await.expect(200);
    let capture = format!("/v1/payments/{}/capture", payment_id(&placed));
    shop.post(&capture, "first", json!({"amount": 600})).await.expect(200);
    shop.until("it is recorded", |log| log.order(placed.order_id).captured().minor_units() == 600).await;
    placed.post(&shop, "refunds", "r", json!({"amount": 600})).await.expect(201);
    shop.until("it is refunded", |log| log.order(placed.order_id).refunded().minor_units() == 600).await;
    shop.post(&capture, "rest", json!({"amount": 400})).await.expect(200);
    let log = shop.until("the rest", |log| log.order(placed.order_id).captured().minor_units() == 1000).await;
    assert_eq!(log.order(placed.order_id).amount_due().minor_units(), 600);
    placed.post(&shop, "shipments", "s", json!({})).await.problem(409, "order_not_paid");

    let sequence = Sequence {
        name: "all",
        lines: &[("a", 1, 1000)],
        adjustments: json!([]),
        steps: Vec::new(),
        owed: 0,
        refunded: 0,
    };
    let refunded = place_charged(&shop, &sequence).await;
    refunded.post(&shop, "refunds", "all", json!({"amount": 1000})).await.expect(201);
    shop.until("all is refunded", |log| log.order(refunded.order_id).refunded().minor_units() == 1000).await;
    refunded.post(&shop, "shipments", "s", json!({})).await.problem(409, "order_refunded");
    refunded.post(&shop, "cancel", "c", json!({})).await.expect(200);
    let log = shop.until_all_reacted().await;
    assert_eq!(log.stock("all-a").levels().reserved, 0);
    assert_eq!(sandbox.charge(payment_id(&refunded), 1).await.refunded.minor_units(), 1000);
}

#[tokio::test]
async fn sales_subtract_what_the_provider_paid_back_from_the_sku_that_came_back() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let sequence = Sequence {
        name: "sales",
        lines: &[("a", 1, 1000), ("b", 1, 3000)],
        adjustments: json!([]),
        steps: vec![("shipments", json!({}), 0), ("returns", units(&[(1, 1)]), 1000)],
        owed: 3000,
        refunded: 1000,
    };
    play(&shop, &sandbox, sequence).await;
    let sales = sales_when(&shop, |sales| sales.total.refunded > 0).await;
    let by_sku: Vec<_> = sales.groups.items.iter().map(|(sku, sums)| (sku.as_str(), sums.refunded)).collect();
    assert_eq!(by_sku, [("sales-a", 1000), ("sales-b", 0)]);
    let totals = sandbox.totals().await.currencies.into_values().next().unwrap();
    let moved = eventually("the money is counted", async || {
        let query = infra::read_models::MoneyQuery {
            currency: "EUR".parse().unwrap(),
            range: infra::read_models::TimeRange::default(),
            group: None,
            after: None,
        };
        let money = shop.queries.money(&query, 1).await.unwrap().total;
        (money.refunded > 0).then_some(money)
    })
    .await;
    let as_minor = |amount: Amount| i128::from(amount.minor_units());
    assert_eq!((moved.captured, moved.refunded), (as_minor(totals.captured), as_minor(totals.refunded)));
}
