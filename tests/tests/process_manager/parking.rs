//! A reaction that keeps failing is parked, and the others continue.

use super::*;
use crate::support::{TestClock, TestSandbox, appends};

#[tokio::test]
async fn a_poisoned_order_delays_no_expiry_no_charge_no_sweep_and_no_reaction() {
    let (sandbox, time, due) = (TestSandbox::open("").await, TestClock::default(), due_soon());
    let shop = poisoned_shop(ShopOptions { clock: time.clock(), ..sandbox.options() }).await;
    let held = id_of(&place(&shop, "held", "a", json!({})).await.expect(201));
    let refused = place(&shop, "poisoned", "poison", due.clone()).await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    let parked = until_parked(&shop, 1).await;
    assert_eq!(parked[0].event_type, "order.placed.v2");
    assert!(parked[0].reason.contains("a.newer.type.v9"), "{}", parked[0].reason);

    // The position passes the parked reaction.
    shop.until_all_reacted().await;
    // A charge is asked for again after an outage.
    sandbox.set_script(json!({"outage": true})).await;
    place(&shop, "charged", "a", json!({"payment": {"method": "card"}})).await.expect(201);
    sandbox.set_script(json!({})).await;
    shop.until("the charge is repeated", |log| log.count("order.paid.v1") == 1).await;
    // An overdue order expires. Its expiry takes the lock of that order only.
    let late = place(&shop, "late", "a", due.clone()).await.expect(201);
    time.advance_minutes(DUE_PASSED_MINUTES);
    shop.until("it expires", |log| log.types(id_of(&late)).contains(&"order.expired.v1".to_owned())).await;
    // A reaction runs.
    cancel(&shop, held).await;
    shop.until("the stock is released", |log| log.stock("a").reservation(held).is_none()).await;
    // The sweep releases a late reservation.
    let sku = Sku::new("a").unwrap();
    reserve_late(&shop, held, &sku).await;
    shop.until("the sweep releases it", |log| log.loose_reservations().is_empty()).await;
    // The poisoned order itself gets an answer: it is still unreadable, or expired.
    let again = place(&shop, "poisoned", "poison", due.clone()).await;
    assert!(again.status.as_u16() >= 400, "{}", again.text());
}

async fn reserve_late(shop: &Shop, order_id: OrderId, sku: &Sku) {
    use domain::{CommandContext, EventId, stock::StockCommand};
    let cause = EventId(uuid::Uuid::new_v4());
    let context = CommandContext::reaction(cause, order_id.0, &sku.clone().into(), "stock.reserve");
    let command = StockCommand::Reserve { order_id, quantity: 1 };
    shop.checkout.stock.execute_reaction(sku, command, &context).await.unwrap();
}

/// More poisoned orders than reactions that may run at once.
#[tokio::test]
async fn hundreds_of_poisoned_orders_do_not_stop_a_cancellation_from_releasing() {
    const POISONED: usize = 262;
    let shop = poisoned_shop(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    let healthy = id_of(&place(&shop, "healthy", "a", json!({})).await.expect(201));
    for number in 0..POISONED {
        let body = json!({"currency": "GBP", "lines": [line("poison", 1, 100)]});
        let key = format!("poisoned {number}");
        shop.post_with("/v1/orders", &key, body, &[("prefer", "respond-async")]).await.expect(202);
    }
    until_parked(&shop, POISONED).await;
    cancel(&shop, healthy).await;
    shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
}

/// A store that refuses appends fails every reaction to its streams; the failures may end by themselves.
#[tokio::test]
async fn failing_reactions_hold_no_place_while_they_wait() {
    const FAILING: usize = 300;
    let options = ShopOptions { projectors: false, shared_store: true, ..ShopOptions::default() };
    let shop = Shop::with(options).await;
    shop.receive("a", 1_000).await;
    shop.receive("b", 1_000).await;
    let mut failing = Vec::new();
    for number in 0..FAILING {
        failing.push(id_of(&place(&shop, &number.to_string(), "b", json!({})).await.expect(201)));
    }
    let healthy = id_of(&place(&shop, "healthy", "a", json!({})).await.expect(201));
    shop.store.refuse_all(Box::new(|append| append.stream.to_string() == "stock-b"));
    for order in failing {
        cancel(&shop, order).await;
    }
    cancel(&shop, healthy).await;
    shop.until("the stock is released", |log| log.stock("a").reservation(healthy).is_none()).await;
}

#[tokio::test]
async fn an_unknown_event_parks_its_order_and_the_later_events_wait_behind_it() {
    let shop = Shop::with(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    shop.receive("a", 5).await;
    let order = id_of(&place(&shop, "first", "a", json!({})).await.expect(201));
    shop.until_all_reacted().await;
    shop.store.spoil(order, Spoiled::UnknownTypes);
    cancel(&shop, order).await;
    let parked = until_parked(&shop, 1).await;
    assert_eq!((&parked[0].stream, parked[0].revision), (&stream(order), 2));
    // The next event of the order: nothing of it runs, and the position passes it.
    let log = shop.until_all_reacted().await;
    assert_eq!(log.count("stock.released.v1"), 0);

    shop.store.heal(order);
    let retry = format!("/v1/reactions/{order}/retry");
    let requested = shop.post(&retry, "", json!({})).await.expect(202);
    assert_eq!(requested["retry_requested"], true);
    shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
    until_none_is_parked(&shop).await;
}

#[tokio::test]
async fn an_unknown_event_of_a_payment_parks_the_payment() {
    let shop = Shop::with(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    shop.receive("a", 5).await;
    let placed = place(&shop, "first", "a", json!({})).await.expect(201);
    let payment: domain::PaymentId = placed["payment_id"].as_str().unwrap().parse().unwrap();
    shop.until_all_reacted().await;
    shop.store.spoil(payment, Spoiled::UnknownTypes);
    let authorize = format!("/v1/payments/{payment}/authorize");
    // The answer depends on a read of the stream. The event is recorded in any case.
    shop.post(&authorize, "authorize", json!({})).await;
    let parked = until_parked(&shop, 1).await;
    assert_eq!(parked[0].stream, payment.into());
    shop.until_all_reacted().await;
}

#[tokio::test]
async fn reactions_behind_a_parked_one_run_in_the_order_of_their_stream_after_the_retry() {
    let shop = poisoned_shop(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    let body = json!({"currency": "GBP", "lines": [line("poison", 1, 100)]});
    let placed =
        shop.post_with("/v1/orders", "poisoned", body, &[("prefer", "respond-async")]).await.expect(202);
    let order = id_of(&placed);
    until_parked(&shop, 1).await;
    cancel(&shop, order).await;
    eventually("the cancellation waits behind it", async || {
        (shop.parked().await[0].last_revision == 1).then_some(())
    })
    .await;
    shop.until_all_reacted().await;
    shop.store.heal(poison());
    let event = shop.parked().await[0].event_id;
    shop.post(&format!("/v1/reactions/{event}/retry"), "", json!({})).await.expect(202);
    until_none_is_parked(&shop).await;
    // The reaction to the placing found the order cancelled.
    assert_eq!(shop.log().await.count("stock.reserved.v1"), 0);
}

/// The process dies after it has parked a reaction and before it saves the position past it.
#[tokio::test]
async fn a_crash_between_parking_and_saving_loses_no_reaction_and_parks_it_once() {
    let options = ShopOptions { projectors: false, ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    shop.receive("a", 5).await;
    let order = id_of(&place(&shop, "first", "a", json!({})).await.expect(201));
    let log = shop.until_all_reacted().await;
    let before = log.0.last().unwrap().position;
    shop.store.refuse_all(appends("stock.released.v1"));
    cancel(&shop, order).await;
    until_parked(&shop, 1).await;
    let mut shop = shop.crash_into(ShopOptions { process_manager: false, ..options }).await;
    shop.save_reacted_up_to(before).await;
    // Still refused, so the retry at the start fails.
    shop.store.refuse_all(appends("stock.released.v1"));
    shop.start_process_manager();
    shop.until_all_reacted().await;
    let parked = shop.parked().await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!(shop.log().await.count("stock.released.v1"), 0);

    // The next process retries at once.
    let shop = shop.crash_into(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
    until_none_is_parked(&shop).await;
}

/// As after a failover to a standby of Postgres that lacks the last commits. The process goes on.
#[tokio::test]
async fn a_parked_reaction_that_its_store_has_lost_is_run_again() {
    let shop = Shop::with(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    shop.receive("a", 5).await;
    let order = id_of(&place(&shop, "first", "a", json!({})).await.expect(201));
    let before = shop.until_all_reacted().await.0.last().unwrap().position;
    shop.store.spoil(order, Spoiled::UnknownTypes);
    cancel(&shop, order).await;
    until_parked(&shop, 1).await;
    shop.until_all_reacted().await;

    shop.lose_parked(order.into()).await;
    until_none_is_parked(&shop).await;
    shop.save_reacted_up_to(before).await;
    shop.store.heal(order);
    // The next saved position shows the loss.
    shop.receive("b", 1).await;
    shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
    shop.until_all_reacted().await;
    until_none_is_parked(&shop).await;
}

/// A process of an earlier version parks a reaction after this process has tried all parked ones.
#[tokio::test]
async fn a_reaction_that_another_process_parks_later_is_run_before_it_is_due_and_a_failed_one_is_not() {
    let time = TestClock::default();
    let options = ShopOptions { projectors: false, clock: time.clock(), ..ShopOptions::default() };
    let shop = Shop::with(options).await;
    shop.receive("a", 5).await;
    let failing = id_of(&place(&shop, "failing", "a", json!({})).await.expect(201));
    let placed = place(&shop, "healthy", "a", json!({})).await.expect(201);
    shop.until_all_reacted().await;
    shop.store.spoil(failing, Spoiled::UnknownTypes);
    cancel(&shop, failing).await;
    let failed = until_parked(&shop, 1).await;
    assert_eq!((&failed[0].stream, failed[0].attempts), (&stream(failing), 1));
    until_degraded(&shop).await;

    let payment: domain::PaymentId = placed["payment_id"].as_str().unwrap().parse().unwrap();
    let mut log = shop.log().await.0.into_iter();
    let event = log.find(|event| event.stream == payment.into()).expect("the payment is requested");
    let due = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    // Streams of orders are listed before those of payments, so the failed one would be tried first.
    shop.park(ParkedReaction::new(&event, "a newer version wrote it", Timestamp::now(), due)).await;
    assert_eq!(until_parked(&shop, 1).await, failed);
}

async fn until_degraded(shop: &Shop) {
    eventually("it shows as degraded", async || {
        let ready = shop.get("/readyz").await.expect(200);
        (ready["degraded"][0]["name"] == "parked_reactions").then_some(())
    })
    .await;
}

#[tokio::test]
async fn parked_reactions_are_listed_and_shown_as_degraded() {
    let shop = poisoned_shop(ShopOptions { projectors: false, ..ShopOptions::default() }).await;
    for key in ["one", "two", "three"] {
        let body = json!({"currency": "GBP", "lines": [line("poison", 1, 100)]});
        shop.post_with("/v1/orders", key, body, &[("prefer", "respond-async")]).await.expect(202);
    }
    until_parked(&shop, 3).await;
    let first = shop.get("/v1/reactions/parked?limit=2").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = shop.get(&format!("/v1/reactions/parked?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(second["next_cursor"], Value::Null);
    let items =
        [first["items"].as_array().unwrap().clone(), second["items"].as_array().unwrap().clone()].concat();
    let listed: Vec<&str> = items.iter().map(|item| item["stream"].as_str().unwrap()).collect();
    let mut expected: Vec<String> =
        shop.log().await.orders().iter().map(|id| format!("order-{id}")).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(items[0]["event_type"], "order.placed.v2");
    until_degraded(&shop).await;
    let unknown = uuid::Uuid::nil();
    shop.post(&format!("/v1/reactions/{unknown}/retry"), "", json!({})).await.problem(404, "not_found");

    shop.store.heal(poison());
    for item in items {
        let id = item["event_id"].as_str().unwrap();
        shop.post(&format!("/v1/reactions/{id}/retry"), "", json!({})).await.expect(202);
    }
    until_none_is_parked(&shop).await;
    eventually("nothing is degraded", async || {
        let ready = shop.get("/readyz").await.expect(200);
        ready["degraded"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
}
