//! Orders of several processes over one EventStoreDB, which answers an append with known event ids as if it was
//! new.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::header;
use domain::{EventId, NewEvent, OrderId, RecordedEvent, StreamName};
use infra::event_store::{
    Append, ExpectedRevision,
    eventstoredb::{EventStoreDb, EventStoreDbOptions},
};
use serde_json::{Value, json};
use tests::eventstoredb::{FixtureOptions, Server};

use crate::support::{Answer, Log, Network, PATIENCE, Shop, ShopOptions, eventually, line, without_delay};

async fn server() -> Server {
    Server::start(FixtureOptions::default()).await.unwrap()
}

async fn store(server: &Server) -> Arc<EventStoreDb> {
    let options = EventStoreDbOptions { call_time_max: PATIENCE, ..EventStoreDbOptions::default() };
    Arc::new(EventStoreDb::open(server.url().parse().unwrap(), options).await.unwrap())
}

/// A process that runs reactions.
async fn process(server: &Server) -> Shop {
    Shop::over(store(server).await).await
}

/// A process that has read nothing of an order before its first request.
async fn uninformed_process(server: &Server) -> Shop {
    let options = ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() };
    Shop::over_with(store(server).await, options).await
}

/// Waits until the process knows the end of the log.
async fn until_it_knows_the_end(process: &Shop) {
    let last = process.log().await.0.last().map(|event| event.position);
    process.events().head().wait_for(|head| *head >= last).await.unwrap();
}

/// The OrderPlaced events of any version.
fn orders_placed(log: &Log) -> Vec<&RecordedEvent> {
    log.0.iter().filter(|event| event.type_name.starts_with("order.placed.")).collect()
}

async fn place(process: &Shop, quantity: u32) -> Answer {
    process.place("checkout-4711", &[line("mug", quantity, 500)]).await
}

async fn pay_and_ship(process: &Shop, order: &Value) {
    process.pay(order).await;
    let path = format!("/v1/orders/{}/shipments", order["order_id"].as_str().unwrap());
    let shipped = process.post(&path, "parcel", json!({"lines": [{"line": 1, "quantity": 2}]})).await;
    assert!(shipped.status.is_success(), "{}", shipped.text());
}

async fn cancel(process: &Shop, order: &Value) {
    let path = format!("/v1/orders/{}/cancel", order["order_id"].as_str().unwrap());
    process.post(&path, "cancel", json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_order_under_a_used_key_is_refused_at_a_second_process_and_after_a_restart() {
    let server = server().await;
    let (here, there) = (process(&server).await, uninformed_process(&server).await);
    here.receive("mug", 10).await;
    place(&here, 2).await.expect(201);
    place(&there, 3).await.problem(422, "idempotency_key_reused");
    drop(here);
    place(&uninformed_process(&server).await, 3).await.problem(422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_order_that_was_shipped_or_cancelled_since_gets_its_first_answer_and_writes_nothing() {
    for is_shipped in [true, false] {
        let server = server().await;
        let (here, there) = (process(&server).await, uninformed_process(&server).await);
        here.receive("mug", 10).await;
        let first = place(&here, 2).await;
        let order = first.expect(201);
        if is_shipped {
            pay_and_ship(&here, &order).await;
        } else {
            cancel(&here, &order).await;
        }
        let before = here.until_all_reacted().await.0.len();
        until_it_knows_the_end(&there).await;
        for process in [&there, &uninformed_process(&server).await] {
            let again = place(process, 2).await;
            assert!(again.is_replayed(), "{}", again.text());
            assert_eq!(again.expect(201), order);
        }
        assert_eq!(here.log().await.0.len(), before, "a repeated order wrote an event");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_order_is_placed_without_a_read_of_its_stream() {
    let server = server().await;
    let process = process(&server).await;
    process.receive("mug", 10).await;
    let order = place(&process, 2).await.expect(201);
    let order_id: OrderId = order["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(process.store.reads_of(&StreamName::from(order_id)), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_refused_within_10_s_while_the_server_is_silent() {
    let server = server().await;
    let network = Network::before(server.address()).await;
    let url = format!("esdb://{}?tls=false&discoveryInterval=10", network.address());
    let store = EventStoreDb::open(url.parse().unwrap(), EventStoreDbOptions::default()).await.unwrap();
    let shop = Shop::over(Arc::new(store)).await;
    shop.receive("mug", 10).await;
    network.fall_silent();
    for key in ["first", "second"] {
        let began = Instant::now();
        let answer = shop.place(key, &[line("mug", 1, 500)]).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header(header::RETRY_AFTER).is_some());
        assert!(began.elapsed() < Duration::from_secs(10), "{key}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_an_earlier_build_is_recognised_by_its_command() {
    let (copied_from, server) = (server().await, server().await);
    let author = uninformed_process(&copied_from).await;
    author.receive("mug", 10).await;
    let order = place(&author, 2).await.expect(201);
    let log = author.log().await;
    let placed = orders_placed(&log).remove(0);
    let earlier_id = EventId::of_command(placed.decode_metadata().unwrap().command_id, 0);
    assert_ne!(placed.id, earlier_id);

    let process = uninformed_process(&server).await;
    process.receive("mug", 10).await;
    let event = NewEvent {
        id: earlier_id,
        type_name: placed.type_name.to_string().leak(),
        data: placed.data.to_vec(),
        metadata: Arc::clone(&placed.metadata),
    };
    let (stream, expected) = (placed.stream.clone(), ExpectedRevision::NoStream);
    process.events().append(Append { stream, expected, events: vec![event], epoch: None }).await.unwrap();
    place(&process, 3).await.problem(422, "idempotency_key_reused");
    let again = place(&process, 2).await;
    assert!(again.is_replayed(), "{}", again.text());
    assert_eq!(again.expect(201)["order_id"], order["order_id"]);
    let log = process.log().await;
    assert_eq!((orders_placed(&log).len(), log.count("stock.reserved.v1")), (1, 1));
    let allocated = log.0.iter().find(|event| &*event.type_name == "order.allocated.v1").unwrap();
    assert_eq!(allocated.decode_metadata().unwrap().causation_id, Some(earlier_id));
}

/// With Nagle's algorithm, each of the four calls of an order waits 40 ms for an acknowledgement.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_waits_for_no_delayed_acknowledgement() {
    const ORDERS: usize = 21;
    let options = FixtureOptions { delay_acknowledgements: true, ..FixtureOptions::default() };
    let server = Server::start(options).await.unwrap();
    let process = uninformed_process(&server).await;
    process.receive("mug", 1_000).await;
    eventually("connections without delay", async || {
        let all = without_delay(server.address());
        (!all.is_empty() && all.iter().all(|is_set| *is_set)).then_some(())
    })
    .await;
    let mut times = Vec::new();
    for number in 0..ORDERS {
        let began = Instant::now();
        process.place(&format!("order {number}"), &[line("mug", 1, 500)]).await.expect(201);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times[ORDERS / 2];
    println!("median of an order: {median:?}");
    assert!(median < Duration::from_millis(80), "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_one_line_takes_four_appends_and_no_read_of_a_stream() {
    const ORDERS: u64 = 20;
    let server = server().await;
    let process = uninformed_process(&server).await;
    process.receive("mug", 1_000).await;
    let before = server.calls();
    for number in 0..ORDERS {
        process.place(&format!("order {number}"), &[line("mug", 1, 500)]).await.expect(201);
    }
    let after = server.calls();
    assert_eq!(after.appends - before.appends, 4 * ORDERS);
    assert_eq!(after.stream_reads - before.stream_reads, 0);
}

/// A server leaves out the position of an append that it recognises and has not replicated yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_answered_without_its_position_is_read_back() {
    let server = server().await;
    let process = uninformed_process(&server).await;
    process.receive("mug", 10).await;
    server.faults().hide_positions(1);
    let order = place(&process, 2).await.expect(201);
    assert_eq!(order["status"], "allocated");
    let log = process.log().await;
    assert_eq!((orders_placed(&log).len(), log.count("stock.reserved.v1")), (1, 1));
}
