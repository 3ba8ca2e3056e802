//! Orders that ship on an authorisation, and orders that are paid after they shipped.

use std::sync::Arc;

use command_api::checkout::RunOut;
use domain::{PaymentId, Timestamp, order::OrderStatus, payment::PaymentState};
use infra::{
    clock::Clock,
    payment_provider::{
        PaymentProvider,
        stripe::{StripeOptions, StripeProvider},
    },
    read_models::{OrderFilter, OrderWork},
};

use super::*;
use crate::support::{ShopOptions, TestClock, TestSandbox, eventually};

/// Two mugs at 1,000, a bowl at 500 and shipping of 300: 2,800 in total.
async fn place(shop: &Shop, key: &str, members: Value) -> Placed {
    let (mug, bowl) = (format!("{key}-mug"), format!("{key}-bowl"));
    for sku in [&mug, &bowl] {
        shop.receive(sku, ON_HAND).await;
    }
    let mut body = json!({
        "currency": "EUR",
        "lines": [line(&mug, 2, 1000), line(&bowl, 1, 500)],
        "adjustments": [{"kind": "shipping", "code": "DHL", "amount": 300}],
    });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let order = shop.post("/v1/orders", key, body).await.expect(201);
    let order_id = order["order_id"].as_str().unwrap().parse().unwrap();
    Placed { sku: mug, order_id, order }
}

/// Places an order that ships on an authorisation, and waits until its money is authorized.
async fn authorized(shop: &Shop, key: &str) -> Placed {
    let placed = place(shop, key, json!({"terms": "on_shipment", "payment": {"method": "ok"}})).await;
    assert_eq!(placed.order["terms"], "on_shipment");
    until(shop, &placed, "its money is authorized", |order| order.authorized().minor_units() == 2800).await;
    placed
}

async fn until(shop: &Shop, placed: &Placed, what: &str, holds: impl Fn(&Order) -> bool) -> Order {
    let log = shop.until(what, |log| holds(&log.order(placed.order_id))).await;
    log.order(placed.order_id)
}

async fn until_captured(shop: &Shop, placed: &Placed, minor_units: i64) -> Order {
    let is_captured = |order: &Order| order.captured().minor_units() == minor_units;
    until(shop, placed, &format!("{minor_units} are captured"), is_captured).await
}

fn units(line: u32, quantity: u32) -> Value {
    json!({"lines": [{"line": line, "quantity": quantity}]})
}

fn payment_id(placed: &Placed) -> &str {
    placed.order["payment_id"].as_str().unwrap()
}

async fn payment(shop: &Shop, placed: &Placed) -> Payment {
    let id: PaymentId = payment_id(placed).parse().unwrap();
    shop.log().await.payment(id)
}

/// The ids of the orders that are overdue at a time.
async fn overdue(shop: &Shop, now: Timestamp) -> Vec<OrderId> {
    let filter = OrderFilter { work: Some(OrderWork::Overdue), now, ..OrderFilter::default() };
    let page = shop.queries.orders(&filter, 10).await.unwrap();
    page.items.into_iter().map(|row| row.order_id).collect()
}

#[tokio::test]
async fn each_shipment_captures_its_share_and_the_first_one_the_shipping() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = authorized(&shop, "share").await;
    placed.post(&shop, "shipments", "first", units(1, 1)).await.expect(201);
    let order = until_captured(&shop, &placed, 1000 + 300).await;
    assert_eq!((order.amount_due().minor_units(), order.due_for_shipped().minor_units()), (1500, 0));
    placed.post(&shop, "shipments", "rest", json!({})).await.expect(201);
    let order = until_captured(&shop, &placed, 2800).await;
    assert!(order.is_paid());
    assert_eq!(sandbox.charge(payment_id(&placed), 1).await.captured.minor_units(), 2800);
}

#[tokio::test]
async fn cancelling_the_rest_of_an_order_voids_what_was_not_captured_for_shipped_goods() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = authorized(&shop, "rest").await;
    placed.post(&shop, "shipments", "first", units(1, 1)).await.expect(201);
    // Without a wait: the capture may still be under way.
    placed.post(&shop, "cancel", "rest", json!({})).await.expect(200);
    let order = until_captured(&shop, &placed, 1300).await;
    assert_eq!((order.status(), order.owed().minor_units()), (OrderStatus::Cancelled, 1300));
    eventually("the rest is released", async || {
        let charge = sandbox.charge(payment_id(&placed), 1).await;
        (charge.authorized_until().is_none() && charge.captured.minor_units() == 1300).then_some(())
    })
    .await;
}

#[tokio::test]
async fn units_that_will_not_ship_are_not_captured_and_returned_ones_are_refunded() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = authorized(&shop, "units").await;
    placed.post(&shop, "cancel", "bowl", units(2, 1)).await.expect(200);
    placed.post(&shop, "shipments", "mugs", json!({})).await.expect(201);
    until_captured(&shop, &placed, 2300).await;
    let answer = placed.post(&shop, "returns", "mug", units(1, 1)).await.expect(201);
    assert_eq!(answer["refunds"][0]["amount"], 1000);
    let order =
        until(&shop, &placed, "1000 are refunded", |order| order.refunded().minor_units() == 1000).await;
    assert_eq!(order.owed(), order.kept());
}

#[tokio::test]
async fn an_authorisation_that_ends_at_the_provider_is_asked_for_again() {
    let mut sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    sandbox.deliver_webhooks_to(&shop);
    let placed = authorized(&shop, "ended").await;
    placed.post(&shop, "shipments", "first", units(1, 1)).await.expect(201);
    until_captured(&shop, &placed, 1300).await;
    sandbox.void(payment_id(&placed), 1).await;
    let order = until(&shop, &placed, "it ends", |order| order.authorized().minor_units() == 1300).await;
    assert_eq!(order.status(), OrderStatus::Allocated);
    let refused =
        placed.post(&shop, "shipments", "second", json!({})).await.problem(409, "order_not_authorized");
    assert!(refused["detail"].as_str().unwrap().contains("/charge"), "{refused}");
    let answer = placed.pay(&shop, "charge", json!({"method": "ok"})).await.expect(200);
    assert_eq!(answer["authorized"], 2800);
    until(&shop, &placed, "its money is authorized again", |order| order.authorized().minor_units() == 2800)
        .await;
    placed.post(&shop, "shipments", "third", json!({})).await.expect(201);
    until_captured(&shop, &placed, 2800).await;
}

#[tokio::test]
async fn an_authorisation_that_ended_at_the_provider_without_a_webhook_ends_by_a_timer_after_a_look_up() {
    let (sandbox, clock) = (TestSandbox::open("").await, TestClock::default());
    let shop = Shop::with(ShopOptions { clock: clock.clock(), ..sandbox.options() }).await;
    let placed = authorized(&shop, "silent").await;
    sandbox.void(payment_id(&placed), 1).await;
    sandbox.set_script(json!({"outage": true})).await;
    clock.advance_minutes(7 * 24 * 60 + 1);
    // The provider is asked before anything ends, and it does not answer.
    placed.pay(&shop, "charge", json!({"method": "ok"})).await.problem(503, "unavailable");
    assert_eq!(payment(&shop, &placed).await.authorized().minor_units(), 2800);
    sandbox.set_script(json!({})).await;
    let order = until(&shop, &placed, "it ends", |order| order.authorized().is_zero()).await;
    assert_eq!(order.status(), OrderStatus::Allocated);
    let ended: Value = serde_json::from_slice(&shop.log().await.first("payment.voided.v1").data).unwrap();
    assert_eq!(ended, json!({"ran_out": true}), "as the provider says, without a reason of this platform");
    let path = format!("/v1/payments/{}/charge", payment_id(&placed));
    let again = shop.post(&path, "again", json!({"method": "ok"})).await.expect(200);
    assert_eq!(again["authorized"], 2800);
}

#[tokio::test]
async fn a_prepaid_order_is_cancelled_only_when_the_provider_says_that_its_authorisation_has_ended() {
    let (sandbox, clock) = (TestSandbox::open("").await, TestClock::default());
    let shop = Shop::with(ShopOptions { clock: clock.clock(), ..sandbox.options() }).await;
    let placed = place(&shop, "prepaid", json!({"payment_due_at": null})).await;
    placed.pay(&shop, "charge", json!({"method": "ok", "capture": "manual"})).await.expect(200);
    clock.advance_minutes(7 * 24 * 60 + 1);
    // By its own clock, the sandbox still holds the money.
    let held = shop.checkout.settle_run_out(payment_id(&placed).parse().unwrap()).await.unwrap();
    assert_eq!(held, RunOut::Held);
    assert_eq!(shop.log().await.order(placed.order_id).status(), OrderStatus::Allocated);
    sandbox.void(payment_id(&placed), 1).await;
    until(&shop, &placed, "it is cancelled", |order| order.status() == OrderStatus::Cancelled).await;
}

#[tokio::test]
async fn an_order_does_not_ship_on_an_authorisation_older_than_seven_days() {
    let (sandbox, clock) = (TestSandbox::open("").await, TestClock::default());
    let shop = Shop::with(ShopOptions { clock: clock.clock(), ..sandbox.options() }).await;
    let placed = authorized(&shop, "old").await;
    let until_then = payment(&shop, &placed).await.authorized_until().unwrap();
    clock.advance_minutes(7 * 24 * 60 + 1);
    assert!(until_then < clock.clock().now());
    placed.post(&shop, "shipments", "late", json!({})).await.problem(409, "order_not_authorized");
    placed.pay(&shop, "charge", json!({"method": "ok"})).await.expect(200);
    let payment = payment(&shop, &placed).await;
    assert_eq!(
        (payment.state(), payment.charge().map(|charge| charge.number)),
        (PaymentState::Authorized, Some(2))
    );
}

#[tokio::test]
async fn a_shipment_whose_capture_fails_stays_and_its_money_is_overdue() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = authorized(&shop, "failed").await;
    // The platform does not know it: no webhook is delivered.
    sandbox.void(payment_id(&placed), 1).await;
    placed.post(&shop, "shipments", "first", units(1, 1)).await.expect(201);
    let order = until(&shop, &placed, "it ends", |order| order.authorized().is_zero()).await;
    assert_eq!((order.shipments().len(), order.captured().minor_units()), (1, 0));
    assert_eq!(order.due_for_shipped().minor_units(), 1300);
    eventually("it is listed as overdue", async || {
        (overdue(&shop, Timestamp::MAX).await == [placed.order_id]).then_some(())
    })
    .await;
    // The next authorisation pays for the shipped goods first.
    placed.pay(&shop, "charge", json!({"method": "ok"})).await.expect(200);
    until_captured(&shop, &placed, 1300).await;
    eventually("it is no longer overdue", async || {
        overdue(&shop, Timestamp::MAX).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_net_order_ships_at_once_is_overdue_later_and_never_expires() {
    let (sandbox, clock) = (TestSandbox::open("").await, TestClock::default());
    let shop = Shop::with(ShopOptions { clock: clock.clock(), ..sandbox.options() }).await;
    let placed = place(&shop, "net", json!({"terms": "net", "payment_due_days": 30})).await;
    placed.post(&shop, "shipments", "all", json!({})).await.expect(201);
    let now = clock.clock().now();
    let due = shop.log().await.order(placed.order_id).payment_due_at().unwrap();
    assert_eq!(due.duration_since(now).as_hours(), 30 * 24 - 1);
    eventually("it is overdue after 30 days alone", async || {
        let later = now + jiff::SignedDuration::from_hours(31 * 24);
        let is_listed_later = overdue(&shop, later).await == [placed.order_id];
        (is_listed_later && overdue(&shop, now).await.is_empty()).then_some(())
    })
    .await;
    clock.advance_minutes(31 * 24 * 60);
    placed.post(&shop, "returns", "bowl", units(2, 1)).await.expect(201);
    shop.until_all_reacted().await;
    let answer = placed.pay(&shop, "charge", json!({"method": "ok"})).await.expect(200);
    assert_eq!((&answer["amount"], &answer["captured"]), (&json!(2300), &json!(2300)));
    let order = until_captured(&shop, &placed, 2300).await;
    assert_eq!((order.status(), order.is_paid()), (OrderStatus::Allocated, true));
    eventually("it is paid", async || overdue(&shop, Timestamp::MAX).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_net_order_says_once_that_it_is_paid_also_when_units_come_back_that_were_not_paid_for() {
    let shop = Shop::open().await;
    let placed = place(&shop, "less", json!({"terms": "net", "payment_due_days": 30})).await;
    placed.post(&shop, "shipments", "all", json!({})).await.expect(201);
    placed.pay(&shop, "authorize", json!({})).await.expect(200);
    placed.pay(&shop, "capture", json!({"amount": 2300})).await.expect(200);
    let log = shop.until_all_reacted().await;
    assert_eq!((log.order(placed.order_id).is_paid(), log.count("order.paid.v1")), (false, 0));
    let answer = placed.post(&shop, "returns", "bowl", units(2, 1)).await.expect(201);
    assert_eq!(answer["refunds"], json!([]));
    placed.post(&shop, "returns", "mug", units(1, 1)).await.expect(201);
    let log = shop.until_all_reacted().await;
    assert_eq!((log.order(placed.order_id).is_paid(), log.count("order.paid.v1")), (true, 1));
}

#[tokio::test]
async fn the_open_rest_of_a_net_payment_moves_to_another_payment_once_it_is_voided() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = place(&shop, "rest", json!({"terms": "net", "payment_due_days": 30})).await;
    placed.pay(&shop, "charge", json!({"method": "ok", "capture": "manual"})).await.expect(200);
    placed.pay(&shop, "capture", json!({"amount": 1000})).await.expect(200);
    let other = json!({"method": "other"});
    placed.post(&shop, "payments", "early", other.clone()).await.problem(409, "amount_too_large");
    placed.pay(&shop, "void", json!({})).await.expect(200);
    until(&shop, &placed, "it has ended", |order| order.unclaimed().minor_units() == 1800).await;
    let again = format!("/v1/payments/{}/charge", payment_id(&placed));
    shop.post(&again, "again", json!({"method": "ok"})).await.problem(409, "payment_state");
    let added = placed.post(&shop, "payments", "other", other).await.expect(201);
    assert_eq!(added["payments"][1]["amount"], 1800);
    let order = until_captured(&shop, &placed, 2800).await;
    assert_eq!((order.is_paid(), order.overpaid().minor_units()), (true, 0));
    let second = added["payment_id"].as_str().unwrap();
    let taken = [sandbox.charge(payment_id(&placed), 1).await, sandbox.charge(second, 1).await];
    assert_eq!(taken.map(|charge| charge.captured.minor_units()), [1000, 1800]);
}

#[tokio::test]
async fn a_declined_charge_does_not_end_a_net_order() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let placed = place(&shop, "declined", json!({"terms": "net", "payment_due_days": 1})).await;
    placed.pay(&shop, "charge", json!({"method": "decline"})).await.expect(200);
    let log = shop.until_all_reacted().await;
    assert_eq!(log.order(placed.order_id).status(), OrderStatus::Allocated);
    let path = format!("/v1/payments/{}/charge", payment_id(&placed));
    let again = shop.post(&path, "again", json!({"method": "ok"})).await.expect(200);
    assert_eq!(again["captured"], 2800);
}

#[tokio::test]
async fn terms_need_a_due_time_and_a_provider_that_supports_them() {
    let shop = Shop::open().await;
    shop.receive("a", ON_HAND).await;
    let order = |members: Value| {
        let mut body = json!({"currency": "EUR", "lines": [line("a", 1, 100)]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    for (key, members, member) in [
        ("no-due", json!({"terms": "net"}), "payment_due_at"),
        ("never", json!({"terms": "net", "payment_due_at": null}), "payment_due_at"),
        (
            "both",
            json!({"payment_due_at": "2099-01-01T00:00:00Z", "payment_due_days": 1}),
            "payment_due_days",
        ),
        ("days", json!({"payment_due_days": 0}), "payment_due_days"),
        ("too-many-days", json!({"payment_due_days": 3_651}), "payment_due_days"),
        ("terms", json!({"terms": "later"}), "terms"),
    ] {
        let problem = shop.post("/v1/orders", key, order(members)).await.problem(422, "invalid_request");
        assert!(problem["errors"][0]["field"].as_str().unwrap().contains(member), "{key}: {problem}");
    }
    let net = shop
        .post("/v1/orders", "net", order(json!({"terms": "net", "payment_due_days": 1})))
        .await
        .expect(201);
    let due = format!("/v1/orders/{}/due", net["order_id"].as_str().unwrap());
    shop.post(&due, "never", json!({"payment_due_at": null})).await.problem(422, "invalid_request");

    let payments = json!([{"amount": 1}]);
    shop.post("/v1/orders", "two", order(json!({"terms": "on_shipment", "payments": payments})))
        .await
        .problem(422, "terms_not_supported");
    let one = shop.post("/v1/orders", "one", order(json!({"terms": "on_shipment"}))).await.expect(201);
    let more = format!("/v1/orders/{}/payments", one["order_id"].as_str().unwrap());
    shop.post(&more, "more", json!({})).await.problem(422, "terms_not_supported");

    let stripe = |options: StripeOptions| -> Arc<dyn PaymentProvider> {
        Arc::new(StripeProvider::new(options, Clock::system()).unwrap())
    };
    let options = StripeOptions::new("sk_test_1", "whsec_1").unwrap();
    for (provider, is_supported) in
        [(stripe(options.clone()), false), (stripe(options.with_multicapture()), true)]
    {
        let shop = Shop::with(ShopOptions { provider: Some(provider), ..ShopOptions::default() }).await;
        shop.receive("a", ON_HAND).await;
        let answer = shop.post("/v1/orders", "stripe", order(json!({"terms": "on_shipment"}))).await;
        if is_supported {
            answer.expect(201);
        } else {
            let problem = answer.problem(422, "terms_not_supported");
            assert_eq!(problem["errors"][0]["field"], "terms");
        }
    }
}
