//! Exchanges over HTTP: the answer, every refusal, and what becomes of the credit.

use domain::{OrderId, PaymentId, order::Order};
use infra::read_models::{MoneyQuery, MoneyTotals, SalesQuery, TimeRange};

use super::*;
use crate::support::{Log, ShopOptions, appends, eventually};

/// An order of ten units of `old` at 300, paid and shipped, and five units of `new` on hand.
async fn shipped_order(shop: &Shop) -> Value {
    shop.receive("old", 10).await;
    shop.receive("new", 5).await;
    let order = shop.place("first", &[line("old", 10, 300)]).await.expect(201);
    shop.pay(&order).await;
    shop.post(&path_of(&order, "/shipments"), "ship", json!({})).await.expect(201);
    order
}

/// Exchanges units of line 1 for units of `new` at this price.
fn exchange_of(units: u32, (new_units, price): (u32, i64)) -> Value {
    json!({"return": {"lines": [part(1, units)]}, "order": {"lines": [line("new", new_units, price)]}})
}

async fn exchange(shop: &Shop, order: &Value, key: &str, body: Value) -> Answer {
    shop.post(&path_of(order, "/exchanges"), key, body).await
}

fn order_id(order: &Value) -> OrderId {
    order["order_id"].as_str().unwrap().parse().unwrap()
}

fn state(log: &Log, order: &Value) -> Order {
    log.order(order_id(order))
}

/// (captured, refunded, credit outstanding, owed) of an order.
fn money(log: &Log, order: &Value) -> (i64, i64, i64, i64) {
    let order = state(log, order);
    let amounts = [order.captured(), order.refunded(), order.credited(), order.owed()];
    let [captured, refunded, credited, owed] = amounts.map(domain::Amount::minor_units);
    (captured, refunded, credited, owed)
}

#[tokio::test]
async fn an_exchange_takes_units_back_and_pays_the_new_order_with_their_value() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let body = exchange_of(2, (3, 250));
    let answered = post_twice(&shop, &path_of(&first, "/exchanges"), "smaller", body).await;
    let answer = answered.expect(201);
    assert_has(&answer, json!({"credit": 600, "refund_amount": 0}));
    assert_eq!(answered.header("location"), Some(&*path_of(&answer, "")));

    let log = shop.until_all_reacted().await;
    let new = state(&log, &answer);
    assert_eq!(new.exchange_of().unwrap().order_id, order_id(&first));
    let rest: PaymentId = answer["payment_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(log.payment(rest).amount().minor_units(), 150);
    assert_eq!(money(&log, &answer), (600, 0, 0, 750));
    assert_eq!(money(&log, &first), (3000, 0, 600, 2400));
    assert!(!new.is_paid() && state(&log, &first).is_paid());
    assert_eq!(log.stock("old").levels().on_hand, 2);

    shop.pay(&json!({"payment_id": rest.to_string()})).await;
    shop.until("the new order is paid", |log| state(log, &answer).is_paid()).await;
    shop.post(&path_of(&answer, "/shipments"), "ship", json!({})).await.expect(201);

    let (id, first_id) = (order_id(&answer), order_id(&first));
    let rows = eventually("both rows are there", async || {
        let rows = (shop.queries.order(id).await.unwrap()?, shop.queries.order(first_id).await.unwrap()?);
        rows.0.order.shipments().first()?;
        Some(rows)
    })
    .await;
    assert_eq!(rows.0.order.exchange_of().map(|source| source.order_id), Some(first_id));
    assert_eq!(rows.1.order.credits()[0].order_id, id);
}

#[tokio::test]
async fn what_a_cheaper_order_leaves_of_the_value_is_refunded() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let answer = exchange(&shop, &first, "cheaper", exchange_of(2, (1, 250))).await.expect(201);
    assert_has(&answer, json!({"credit": 250, "refund_amount": 350, "payment_id": null}));
    let log = shop.until_all_reacted().await;
    assert!(state(&log, &answer).is_paid());
    let payment = log.payment(first["payment_id"].as_str().unwrap().parse().unwrap());
    assert_eq!(payment.refunds().iter().map(|refund| refund.amount.minor_units()).collect::<Vec<_>>(), [350]);
    // The credit is not refundable on the first order as long as the new order has it.
    let refund = |amount: i64| json!({"amount": amount});
    let path = path_of(&first, "/refunds");
    shop.post(&path, "too much", refund(2401)).await.problem(409, "refund_too_large");
    shop.post(&path, "all", refund(2400)).await.expect(201);
}

/// An operator pays out the refunds of an order that are open.
async fn pay_out(shop: &Shop, order: &Value) {
    let payment_id: PaymentId = order["payment_id"].as_str().unwrap().parse().unwrap();
    let payment = shop.until_all_reacted().await.payment(payment_id);
    for refund in payment.refunds().iter().filter(|refund| refund.state.is_open()) {
        let path = format!("/v1/payments/{payment_id}/refunds/{}/succeed", refund.refund_id);
        shop.post(&path, "paid out", json!({})).await.expect(200);
    }
}

/// The net of all sales, and the money that moved, once they are equal to this.
async fn assert_reports(shop: &Shop, gross: i128, refunded_sales: i128, moved: MoneyTotals) {
    let currency = "GBP".parse().unwrap();
    let sales = SalesQuery { currency, range: TimeRange::default(), group: None, after: None };
    let money = MoneyQuery { currency, range: TimeRange::default(), group: None, after: None };
    shop.until_all_reacted().await;
    eventually("the reports show the exchange", async || {
        let total = shop.queries.sales(&sales, 1).await.unwrap().total;
        let is_there = (total.gross, total.refunded, total.cancelled) == (gross, refunded_sales, 0)
            && shop.queries.money(&money, 1).await.unwrap().total == moved;
        (is_there && total.net() == moved.net()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reports_count_the_credit_once_and_no_money_for_it() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let new = exchange(&shop, &first, "cheaper", exchange_of(2, (1, 250))).await.expect(201);
    pay_out(&shop, &first).await;
    assert_reports(&shop, 3250, 600, MoneyTotals { captured: 3000, refunded: 350, disputed: 0 }).await;

    shop.post(&path_of(&new, "/cancel"), "cancel", json!({})).await.expect(200);
    pay_out(&shop, &first).await;
    assert_reports(&shop, 3250, 850, MoneyTotals { captured: 3000, refunded: 600, disputed: 0 }).await;
}

#[tokio::test]
async fn the_credit_goes_back_to_the_first_order_when_the_new_one_is_cancelled() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let second = exchange(&shop, &first, "once", exchange_of(2, (2, 300))).await.expect(201);
    shop.until_all_reacted().await;
    shop.post(&path_of(&second, "/shipments"), "ship", json!({})).await.expect(201);
    // An exchanged order is exchanged again.
    let third = exchange(&shop, &second, "twice", exchange_of(1, (1, 300))).await.expect(201);
    let log = shop.until_all_reacted().await;
    assert_eq!((money(&log, &first).2, money(&log, &second).2), (600, 300));

    shop.post(&path_of(&third, "/cancel"), "cancel", json!({})).await.expect(200);
    let log = shop.until_all_reacted().await;
    assert_eq!((money(&log, &first).2, money(&log, &second).2), (300, 0));
    assert_eq!((money(&log, &third), money(&log, &second)), ((300, 300, 0, 0), (600, 300, 0, 300)));
    // The money goes to where it came from: the payment of the first order.
    let payment = log.payment(first["payment_id"].as_str().unwrap().parse().unwrap());
    assert_eq!(payment.refunds().iter().map(|refund| refund.amount.minor_units()).collect::<Vec<_>>(), [300]);

    // A return of the second order gives back the rest of the credit.
    let back = json!({"lines": [part(1, 1)]});
    shop.post(&path_of(&second, "/returns"), "return", back).await.expect(201);
    let log = shop.until_all_reacted().await;
    assert_eq!(money(&log, &first).2, 0);
    let payment = log.payment(first["payment_id"].as_str().unwrap().parse().unwrap());
    let refunds: i64 = payment.refunds().iter().map(|refund| refund.amount.minor_units()).sum();
    assert_eq!(refunds, 600);
}

#[tokio::test]
async fn a_refused_exchange_changes_nothing() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let unpaid = shop.place("unpaid", &[line("new", 1, 100)]).await.expect(201);
    shop.until_all_reacted().await;
    let before = shop.log().await;

    let problem = exchange(&shop, &first, "short", exchange_of(1, (9, 100))).await;
    let problem = problem.problem(409, "insufficient_stock");
    assert_eq!(problem["shortages"], json!([{"sku": "new", "requested": 9, "available": 4}]));
    exchange(&shop, &first, "units", exchange_of(11, (1, 100))).await.problem(409, "quantity_unavailable");
    exchange(&shop, &unpaid, "unshipped", exchange_of(1, (1, 100)))
        .await
        .problem(409, "quantity_unavailable");
    exchange(&shop, &first, "free", exchange_of(1, (1, 0))).await.problem(409, "nothing_to_credit");
    let with = |member: &str, value: Value| {
        let mut body = exchange_of(1, (1, 100));
        body["order"][member] = value;
        body
    };
    let problem = exchange(&shop, &first, "currency", with("currency", json!("EUR"))).await;
    assert_eq!(problem.problem(422, "invalid_request")["errors"][0]["field"], "order.currency");
    for terms in ["on_shipment", "net"] {
        let mut body = with("terms", json!(terms));
        body["order"]["payment_due_days"] = json!(30);
        exchange(&shop, &first, terms, body).await.problem(422, "terms_not_supported");
    }
    let mut body = exchange_of(0, (1, 100));
    let problem = exchange(&shop, &first, "zero", body.clone()).await;
    assert_eq!(problem.problem(422, "invalid_request")["errors"][0]["field"], "return.lines");
    body["order"]["lines"] = json!([]);
    body["return"]["lines"] = json!([part(1, 1)]);
    let problem = exchange(&shop, &first, "empty", body).await;
    assert_eq!(problem.problem(422, "invalid_request")["errors"][0]["field"], "order.lines");
    let stale = [("if-match", "\"77\"")];
    let path = path_of(&first, "/exchanges");
    shop.post_with(&path, "stale", exchange_of(1, (1, 100)), &stale)
        .await
        .problem(412, "precondition_failed");
    let unknown = json!({"order_id": "0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f"});
    exchange(&shop, &unknown, "unknown", exchange_of(1, (1, 100))).await.problem(404, "not_found");
    assert_eq!(shop.log().await.0.len(), before.0.len());

    exchange(&shop, &first, "key", exchange_of(1, (1, 100))).await.expect(201);
    let other = exchange(&shop, &first, "key", exchange_of(2, (1, 100))).await;
    other.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_credit_is_not_charged_captured_or_refunded_by_hand() {
    let shop = Shop::open().await;
    let first = shipped_order(&shop).await;
    let new = exchange(&shop, &first, "x", exchange_of(1, (1, 300))).await.expect(201);
    let log = shop.until_all_reacted().await;
    let credit = state(&log, &new).payment_id().unwrap();
    for action in ["authorize", "capture", "void", "fail"] {
        let body = if action == "fail" { json!({"retryable": false}) } else { json!({}) };
        let answer = shop.post(&format!("/v1/payments/{credit}/{action}"), action, body).await;
        answer.problem(409, "payment_of_credit");
    }
}

/// Another return takes the units after the check of the exchange, or the last new unit is sold.
#[tokio::test]
async fn an_exchange_that_loses_a_race_is_refused_and_its_new_order_ends() {
    // (the append before which the other request wins, the code)
    let races = [("order.returned.v2", "quantity_unavailable"), ("order.placed.v2", "insufficient_stock")];
    for (held, code) in races {
        let shop = Shop::without_process_manager().await;
        let first = shipped_order(&shop).await;
        let body = exchange_of(10, (5, 100));
        shop.store.hold_from(appends(held));
        tokio::select! {
            answer = exchange(&shop, &first, "x", body.clone()) => panic!("answered: {answer:?}"),
            () = shop.store.held(1) => {}
        }
        // The process died between the intent and this step. The other request comes first after its restart.
        let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
        let mut shop = shop.crash_into(options).await;
        let before = state(&shop.log().await, &first);
        if held == "order.placed.v2" {
            shop.place("rival", &[line("new", 1, 100)]).await.expect(201);
        } else {
            let back = json!({"lines": [part(1, 1)]});
            shop.post(&path_of(&first, "/returns"), "rival", back).await.expect(201);
        }
        shop.start_process_manager();
        let log = shop.until_all_reacted().await;
        assert_eq!(log.count("exchange.refused.v1"), 1);
        let problem = exchange(&shop, &first, "x", body).await;
        assert!(problem.is_replayed());
        let refused = problem.problem(409, code);
        assert!(state(&log, &refused).status().is_final());
        assert_eq!(log.loose_reservations(), []);
        let after = state(&log, &first);
        assert_eq!(after.credits(), []);
        let returns_of_rival = usize::from(held == "order.returned.v2");
        assert_eq!(after.returns().len(), before.returns().len() + returns_of_rival);
    }
}

#[tokio::test]
async fn twins_of_an_exchange_get_one_answer() {
    for shared_store in [false, true] {
        let shop = Shop::with(ShopOptions { shared_store, ..ShopOptions::default() }).await;
        let first = shipped_order(&shop).await;
        let twin = || exchange(&shop, &first, "x", exchange_of(6, (2, 300)));
        let (one, other) = futures::future::join(twin(), twin()).await;
        assert_eq!(one.expect(201), other.expect(201));
        let log = shop.until_all_reacted().await;
        assert_eq!(state(&log, &first).returns().len(), 1);
        assert_eq!(money(&log, &first).2, 600);
    }
}

#[tokio::test]
async fn the_credit_goes_back_if_the_new_order_is_cancelled_while_the_units_come_back() {
    let shop = Shop::with(ShopOptions { shared_store: true, ..ShopOptions::default() }).await;
    let first = shipped_order(&shop).await;
    shop.until_all_reacted().await;
    shop.store.hold_only(appends("order.returned.v2"));
    let mut exchanging = Box::pin(exchange(&shop, &first, "x", exchange_of(2, (2, 300))));
    tokio::select! {
        answer = &mut exchanging => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let new = shop.log().await.orders().into_iter().find(|id| *id != order_id(&first)).unwrap();
    shop.post(&format!("/v1/orders/{new}/cancel"), "cancel", json!({})).await.expect(200);
    shop.store.release();
    let answer = exchanging.await.expect(201);
    let log = shop.until_all_reacted().await;
    assert_eq!(money(&log, &answer), (600, 600, 0, 0));
    assert_eq!(money(&log, &first), (3000, 0, 0, 2400));
    let payment = log.payment(first["payment_id"].as_str().unwrap().parse().unwrap());
    assert_eq!(payment.refunds().iter().map(|refund| refund.amount.minor_units()).collect::<Vec<_>>(), [600]);
    assert_eq!(log.loose_reservations(), []);
}

/// The process dies before each append that an exchange makes.
#[tokio::test]
async fn an_exchange_is_whole_after_a_crash_at_any_step() {
    for step in 0.. {
        let shop = Shop::without_process_manager().await;
        let first = shipped_order(&shop).await;
        let body = exchange_of(2, (3, 250));
        let count = std::sync::atomic::AtomicUsize::new(0);
        let is_due = move |append: &infra::event_store::Append| {
            !append.events.is_empty() && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == step
        };
        shop.store.hold_from(Box::new(is_due));
        let answered = tokio::select! {
            answer = exchange(&shop, &first, "x", body.clone()) => Some(answer.expect(201)),
            () = shop.store.held(1) => None,
        };
        let mut shop = shop.crash_into(ShopOptions::default()).await;
        let log = shop.until_all_reacted().await;
        let is_whole = log.count("exchange.settled.v1") == 1;
        assert_eq!(is_whole, step > 0, "step {step}: {:?}", log.0.last());
        if is_whole {
            let again = exchange(&shop, &first, "x", body).await;
            assert!(again.is_replayed());
            let again = again.expect(201);
            assert!(answered.as_ref().is_none_or(|answered| *answered == again));
            let log = shop.until_all_reacted().await;
            assert_eq!(money(&log, &first), (3000, 0, 600, 2400), "step {step}");
            assert_eq!(money(&log, &again), (600, 0, 0, 750), "step {step}");
            assert_eq!(state(&log, &first).returns().len(), 1);
            assert_eq!(log.stock("old").levels().on_hand, 2);
        } else {
            assert_eq!((state(&log, &first).returns().len(), log.orders().len()), (0, 1));
        }
        shop.stop_process_manager().await;
        if answered.is_some() {
            assert!(step >= 8, "an exchange makes at least eight appends, and {step} were counted");
            return;
        }
    }
}
