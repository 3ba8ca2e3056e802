//! Orders with several payments: a deposit and a balance, a card and money by hand.

use domain::{OrderId, PaymentId, RefundId};
use serde_json::{Value, json};

use crate::support::{Answer, Log, Shop, TestSandbox, line};

/// Places an order over 1,000.
async fn place(shop: &Shop, key: &str, payments: Value) -> Answer {
    shop.receive("a", 9).await;
    let body = json!({"currency": "GBP", "lines": [line("a", 1, 1_000)], "payments": payments});
    shop.post("/v1/orders", key, body).await
}

fn payment(order: &Value, index: usize) -> PaymentId {
    order["payments"][index]["payment_id"].as_str().unwrap().parse().unwrap()
}

fn order_id(order: &Value) -> OrderId {
    order["order_id"].as_str().unwrap().parse().unwrap()
}

async fn act(shop: &Shop, order: &Value, what: &str, key: &str, body: Value) -> Answer {
    shop.post(&format!("/v1/orders/{}/{what}", order_id(order)), key, body).await
}

async fn by_hand(shop: &Shop, payment: PaymentId) {
    for step in ["authorize", "capture"] {
        shop.post(&format!("/v1/payments/{payment}/{step}"), step, json!({})).await.expect(200);
    }
}

fn paid(log: &Log) -> bool {
    log.count("order.paid.v1") == 1
}

/// The captured, refunded and status of each payment, as the order has recorded them.
fn recorded(log: &Log, order: &Value) -> Vec<(i64, i64, &'static str)> {
    let order = log.order(order_id(order));
    let of_tender = |tender: &domain::order::Tender| {
        let recorded = tender.recorded;
        (recorded.captured.minor_units(), recorded.refunded.minor_units(), tender.status().as_str())
    };
    order.tenders().iter().map(of_tender).collect()
}

#[tokio::test]
async fn a_deposit_by_card_and_a_balance_by_hand_pay_an_order_and_each_gets_back_what_it_holds() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let payments = json!([{"amount": 300, "method": "ok"}, {"amount": 700}]);
    let order = place(&shop, "checkout", payments).await.expect(201);
    let (first, second) = (payment(&order, 0), payment(&order, 1));
    assert_eq!(order["payment_id"], json!(first));
    assert_eq!(first, PaymentId::of_order(order_id(&order)));
    assert_eq!(order["payments"][1], json!({"payment_id": second, "amount": 700, "status": "requested"}));
    shop.until("the deposit is there", |log| log.count("order.payment_recorded.v1") == 1).await;
    act(&shop, &order, "shipments", "early", json!({})).await.problem(409, "order_not_paid");
    by_hand(&shop, second).await;
    shop.until("it is paid", paid).await;

    let cancelled = act(&shop, &order, "cancel", "cancel", json!({})).await.expect(200);
    let cancellation: RefundId = cancelled["refunds"][0]["refund_id"].as_str().unwrap().parse().unwrap();
    let further = RefundId::of_payment(cancellation, first);
    let expected = json!([
        {"refund_id": cancellation, "payment_id": second, "amount": 700},
        {"refund_id": further, "payment_id": first, "amount": 300},
    ]);
    assert_eq!(cancelled["refunds"], expected);
    shop.until("the card is refunded", |log| log.count("payment.refunded.v1") == 1).await;
    let path = format!("/v1/payments/{second}/refunds/{cancellation}/succeed");
    shop.post(&path, "paid out", json!({})).await.expect(200);
    let log = shop.until_all_reacted().await;
    assert_eq!(recorded(&log, &order), [(300, 300, "captured"), (700, 700, "captured")]);
    let money = sandbox.totals().await.currencies.into_values().next().unwrap();
    assert_eq!((money.captured.minor_units(), money.refunded.minor_units()), (300, 300));
    assert_eq!(log.count("payment.closed.v1"), 2);
}

#[tokio::test]
async fn a_payment_is_added_for_what_no_other_payment_asks_for() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", json!([{"amount": 300, "method": "ok"}])).await.expect(201);
    let path = format!("/v1/orders/{}/payments", order_id(&order));
    act(&shop, &order, "payments", "too much", json!({"amount": 701})).await.problem(409, "amount_too_large");
    act(&shop, &order, "payments", "zero", json!({"amount": 0})).await.problem(422, "invalid_request");
    act(&shop, &order, "payments", "kind", json!({"capture": "manual"}))
        .await
        .problem(422, "invalid_request");

    let wait = [("prefer", "wait=20")];
    let body = json!({"method": "ok"});
    let answer = shop.post_with(&path, "balance", body.clone(), &wait).await;
    let added = answer.expect(201);
    assert_eq!(answer.header("location"), Some(&*format!("/v1/payments/{}", payment(&added, 1))));
    assert_eq!(
        (&added["payment_id"], added["payments"].as_array().unwrap().len()),
        (&json!(payment(&added, 1)), 2)
    );
    assert_eq!(
        (&added["payment"]["status"], &added["payment"]["captured"]),
        (&json!("captured"), &json!(700))
    );
    let again = shop.post(&path, "balance", body).await;
    assert!(again.is_replayed());
    assert_eq!(again.expect(201)["payment_id"], added["payment_id"]);
    let log = shop.until("it is paid", paid).await;
    assert_eq!(log.count("order.payment_added.v1"), 1);
    assert_eq!(recorded(&log, &order), [(300, 0, "captured"), (700, 0, "captured")]);
    act(&shop, &order, "payments", "paid", json!({})).await.problem(409, "amount_too_large");
    act(&shop, &order, "shipments", "ship", json!({})).await.expect(201);
}

#[tokio::test]
async fn a_payment_that_fails_for_good_leaves_an_order_with_other_money_open() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let payments = json!([{"amount": 300, "method": "ok"}, {"amount": 700, "method": "decline"}]);
    let order = place(&shop, "checkout", payments).await.expect(201);
    shop.until("one has ended", |log| log.count("order.payment_ended.v1") == 1).await;
    let log = shop.until("one is paid", |log| log.count("order.payment_recorded.v1") == 1).await;
    assert_eq!(recorded(&log, &order), [(300, 0, "captured"), (0, 0, "failed")]);
    let added = act(&shop, &order, "payments", "again", json!({})).await.expect(201);
    by_hand(&shop, payment(&added, 2)).await;
    shop.until("it is paid", paid).await;

    // Without other money, the last payment that fails ends the order.
    let payments = json!([{"amount": 300, "method": "decline"}, {"amount": 700, "method": "decline"}]);
    place(&shop, "declined", payments).await.expect(201);
    shop.until("it is cancelled", |log| log.count("order.cancelled.v2") == 1).await;
}

#[tokio::test]
async fn money_by_hand_is_refused_where_a_provider_has_money_and_goes_to_a_further_payment() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", json!([{"amount": 1_000}])).await.expect(201);
    let pay = async |step: &str, key: &str, body: Value| {
        shop.post(&format!("/v1/payments/{}/{step}", payment(&order, 0)), key, body).await
    };
    // A declined charge leaves the choice open.
    pay("charge", "declined", json!({"method": "decline_soft"})).await.expect(200);
    pay("charge", "held", json!({"method": "ok", "capture": "manual"})).await.expect(200);
    pay("capture", "part", json!({"amount": 400})).await.expect(200);
    pay("void", "rest", json!({})).await.expect(200);
    pay("authorize", "by hand", json!({"amount": 600})).await.problem(409, "payment_of_provider");
    shop.until("it asks for no more", |log| log.count("order.payment_ended.v1") == 1).await;

    let added = act(&shop, &order, "payments", "by hand", json!({})).await.expect(201);
    assert_eq!(added["payments"][1]["amount"], 600);
    by_hand(&shop, payment(&added, 1)).await;
    shop.until("it is paid", paid).await;
    let from_card = json!({"amount": 100, "payment_id": payment(&order, 0)});
    let refund = act(&shop, &order, "refunds", "from the card", from_card).await.expect(201);
    assert_eq!(refund["refunds"][0]["payment_id"], json!(payment(&order, 0)));
    let too_much = json!({"amount": 301, "payment_id": payment(&order, 0)});
    act(&shop, &order, "refunds", "too much", too_much).await.problem(409, "refund_too_large");
    let unknown = json!({"amount": 1, "payment_id": PaymentId(uuid::Uuid::nil())});
    act(&shop, &order, "refunds", "unknown", unknown).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn the_payments_of_a_new_order_are_checked() {
    let shop = Shop::open().await;
    for (key, payments) in [
        ("none", json!([])),
        ("zero", json!([{"amount": 0}])),
        ("too much", json!([{"amount": 600}, {"amount": 401}])),
    ] {
        place(&shop, key, payments).await.problem(422, "invalid_request");
    }
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.receive("a", 1).await;
    let both = json!({
        "currency": "GBP", "lines": [line("a", 1, 1_000)],
        "payment": {"method": "ok"}, "payments": [{"amount": 1_000}],
    });
    let problem = shop.post("/v1/orders", "both", both).await.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "payments", "{problem}");
}
