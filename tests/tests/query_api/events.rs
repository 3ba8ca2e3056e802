//! `/v1/events`.

use std::sync::Arc;

use domain::{EventId, NewEvent, OrderId, RecordedEvent};
use infra::event_store::{
    Append, EventLog, EventStore, ExpectedRevision,
    eventstoredb::{EventStoreDb, EventStoreDbLog, EventStoreDbOptions},
};
use serde_json::{Value, json};
use tests::eventstoredb::{FixtureOptions, Server};
use uuid::Uuid;

use super::{
    Api,
    rows::{at, order_id, order_row, placed},
    timeline,
};
use crate::projectors::memory_log::MemoryLog;

/// The events of a timeline, a second apart.
fn history() -> Vec<RecordedEvent> {
    let mut events = timeline::history();
    for event in &mut events {
        event.recorded_at = at(&format!("2026-01-01T00:00:{:02}Z", event.position));
    }
    events
}

fn api() -> Api {
    Api::over_log(Arc::new(MemoryLog::new(history())))
}

async fn positions(api: &Api, uri: &str) -> Vec<u64> {
    let pages = api.pages(uri).await;
    pages.iter().flatten().map(|item| item["position"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn events_are_found_by_type_stream_correlation_actor_and_time() {
    let api = api();
    let order = format!("order-{}", order_id(1));
    let own = Uuid::from_u128(3);
    for (filter, expected) in [
        (String::new(), vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("event_type=stock.reserved.v1".to_owned(), vec![3, 4]),
        ("event_type=stock.reserved.v1,order.placed.v2".to_owned(), vec![2, 3, 4]),
        ("event_type=no.such".to_owned(), vec![]),
        (format!("stream={order}"), vec![2, 5, 8]),
        (format!("stream={order}&event_type=order.allocated.v1"), vec![5]),
        ("stream=stock-NONE".to_owned(), vec![]),
        (format!("correlation_id={own}"), vec![3]),
        (format!("correlation_id={}", Uuid::nil()), vec![4, 5, 6, 9]),
        ("actor=shop".to_owned(), vec![4, 5, 6, 9]),
        ("actor=jana".to_owned(), vec![4, 5, 6, 9]),
        ("actor=anonymous&stream=stock-85123A".to_owned(), vec![1, 3]),
        ("from=2026-01-01T00:00:04Z".to_owned(), vec![4, 5, 6, 7, 8, 9, 10]),
        ("to=2026-01-01T00:00:04Z".to_owned(), vec![1, 2, 3]),
        ("from=2026-01-01T00:00:04.5Z&to=2026-01-01T00:00:07Z".to_owned(), vec![5, 6]),
        (format!("stream={order}&from=2026-01-01T00:00:03Z&to=2026-01-01T00:00:08Z"), vec![5]),
        ("from=2026-01-02".to_owned(), vec![]),
    ] {
        assert_eq!(positions(&api, &format!("/v1/events?{filter}")).await, expected, "{filter}");
        let in_small_pages = positions(&api, &format!("/v1/events?limit=2&{filter}")).await;
        assert_eq!(in_small_pages, expected, "{filter}");
        let latest_first: Vec<u64> = expected.into_iter().rev().collect();
        for limit in [1, 2, 50] {
            let uri = format!("/v1/events?limit={limit}&latest_first=true&{filter}");
            assert_eq!(positions(&api, &uri).await, latest_first, "{uri}");
        }
    }
}

#[tokio::test]
async fn an_event_has_its_command_its_actor_and_its_data() {
    let page = api().get("/v1/events?limit=1&actor=jana").await.expect(200);
    let history = history();
    assert_eq!(
        page["items"][0],
        json!({
            "position": 4, "recorded_at": "2026-01-01T00:00:04Z", "stream": "stock-85123A", "revision": 2,
            "event_type": "stock.reserved.v1", "event_id": history[3].id, "command": "test.command",
            "correlation_id": Uuid::nil(), "causation_id": history[1].id, "idempotency_key": null,
            "actor": {"principal": "shop", "person": "jana"}, "data": {"order_id": order_id(1), "quantity": 6},
        })
    );
}

#[tokio::test]
async fn a_request_looks_at_a_bounded_number_of_events_and_its_cursor_goes_on_from_there() {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let first = history().remove(0);
    for position in 1..=25_000 {
        let mut event = first.clone();
        (event.position, event.revision) = (position, position - 1);
        if position == 24_000 {
            event.type_name = "sought.v1".into();
        }
        events.push(event);
    }
    let api = Api::over_log(Arc::new(MemoryLog::new(events)));
    let pages = api.pages("/v1/events?event_type=sought.v1").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(pages[2][0]["position"], 24_000);
    let latest_first = api.pages("/v1/events?event_type=sought.v1&latest_first=true").await;
    assert_eq!(latest_first.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
}

/// Fifty events of a new order.
async fn fifty_events(store: &EventStoreDb) -> OrderId {
    let order = OrderId(Uuid::new_v4());
    let event = |_| NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.delivered.v1",
        data: b"{}".to_vec(),
        metadata: Arc::from(*b"{}"),
    };
    let (expected, events) = (ExpectedRevision::NoStream, (0..50).map(event).collect());
    store.append(Append { stream: order.into(), expected, events, epoch: None }).await.unwrap();
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_instant_is_found_with_few_reads_of_eventstoredb_in_a_process_that_follows_nothing() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let options = EventStoreDbOptions::default;
    let store = EventStoreDb::open(server.url().parse().unwrap(), options()).await.unwrap();
    let mut orders = Vec::new();
    for _ in 0..100 {
        orders.push(fifty_events(&store).await);
    }
    let log = EventStoreDbLog::open_read_only(server.url().parse().unwrap(), options()).await.unwrap();
    let sought = log.read_stream(&orders[3].into(), 0, 1).await.unwrap().remove(0);
    let changed = store.log().last_of(&orders[6].into()).await.unwrap().unwrap();

    let log = EventStoreDbLog::open_read_only(server.url().parse().unwrap(), options()).await.unwrap();
    let api = Api::over_log(Arc::new(log));
    let mut row = order_row(&[placed(1).into()]);
    (row.order_id, row.revision, row.updated_at) = (orders[6], changed.revision, changed.recorded_at);
    api.queries.change(|rows| rows.orders.push(row));
    let begun = server.calls().all_reads;
    let page = api.get(&format!("/v1/events?limit=1&from={}", sought.recorded_at)).await.expect(200);
    assert_eq!(page["items"][0]["recorded_at"], sought.recorded_at.to_string(), "{page}");
    let reads = server.calls().all_reads - begun;
    assert!(reads <= 4, "{reads} reads of the log, which has 5,000 events");
}

#[tokio::test]
async fn wrong_filters_are_refused() {
    let api = api();
    let wrong = "/v1/events?event_type=a,,b&stream=x&correlation_id=1&from=now&to=2026&limit=0";
    let fields = api.get(wrong).await.invalid_fields();
    assert_eq!(fields, ["event_type", "stream", "correlation_id", "from", "to", "limit"]);
    let backwards = api.get("/v1/events?from=2026-01-02&to=2026-01-01").await;
    assert_eq!(backwards.invalid_fields(), ["to"]);
    let page = api.get("/v1/events?limit=1").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let other_filter = format!("/v1/events?limit=1&actor=shop&cursor={cursor}");
    api.get(&other_filter).await.problem(400, "invalid_cursor");
    assert_eq!(page["searched_until"], Value::from("2026-01-01T00:00:01Z"));
}
