//! `/v1/feed`.

mod served;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, header},
};
use domain::{EventId, RecordedEvent};
use futures::StreamExt;
use infra::clock::Clock;
use query_api::{FeedOptions, LogAccess, QueryApi, QueryApiOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use super::{Api, fake::FakeQueries, no_log, rows::order_id, timeline};
use crate::{projectors::memory_log::MemoryLog, support::Answer};

/// A query API over a log that grows.
struct Following {
    api: Api,
    log: Arc<MemoryLog>,
    all: Vec<RecordedEvent>,
    stop: CancellationToken,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    id: Option<u64>,
    name: String,
    data: Value,
}

/// The frames of an answer.
struct Listening {
    body: BodyDataStream,
    received: String,
}

/// A log with the first of ten events.
fn following(recorded: usize, options: FeedOptions) -> Following {
    let all = timeline::history();
    let log = Arc::new(MemoryLog::new(all[..recorded].to_vec()));
    let (queries, stop) = (Arc::new(FakeQueries::default()), CancellationToken::new());
    let access = LogAccess::of(log.clone()).ending_at(log.head_changes());
    let options = QueryApiOptions { feed: options, ..QueryApiOptions::default() };
    let api = QueryApi::new(queries.clone(), None, access, Clock::system(), options);
    let router = query_api::router(api.ending_with(stop.clone()));
    Following { api: Api { router, queries }, log, all, stop }
}

impl Following {
    fn record_up_to(&self, count: usize) {
        self.log.extend(&self.all[..count]);
    }

    async fn listen(&self, uri: &str) -> Listening {
        self.listen_after(uri, None).await
    }

    async fn listen_after(&self, uri: &str, last_event_id: Option<u64>) -> Listening {
        let mut request = Request::get(uri);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = self.api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{uri}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut listening =
            Listening { body: response.into_body().into_data_stream(), received: String::new() };
        listening.frame().await.expect("the place to go on");
        listening
    }
}

impl Listening {
    /// The next frame. `None` at the end.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.received.split_once("\n\n") {
                let line = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
                let data = line("data: ").map(|data| serde_json::from_str(data).unwrap());
                let found = Frame {
                    id: line("id: ").map(|id| id.parse().unwrap()),
                    name: line("event: ").unwrap_or_default().to_owned(),
                    data: data.unwrap_or_default(),
                };
                let rest = rest.to_owned();
                self.received = rest;
                return Some(found);
            }
            let chunk = timeout(Duration::from_mins(1), self.body.next()).await.expect("a frame in time")?;
            self.received.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// The positions of the next events.
    async fn positions(&mut self, count: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            let frame = self.frame().await.expect("another event");
            if frame.name == "recorded" {
                positions.push(frame.id.unwrap());
            }
        }
        positions
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_the_log_gets_every_event_after_its_position_once() {
    let feed = following(4, FeedOptions::default());
    let mut from_the_beginning = feed.listen("/v1/feed?after=0").await;
    let mut from_here_on = feed.listen("/v1/feed").await;
    // What a browser sends when it connects again takes precedence over its URL.
    let mut resumed = feed.listen_after("/v1/feed?after=0", Some(2)).await;
    assert_eq!(from_the_beginning.positions(4).await, [1, 2, 3, 4]);
    feed.record_up_to(7);
    assert_eq!(from_here_on.positions(3).await, [5, 6, 7]);
    assert_eq!(resumed.positions(5).await, [3, 4, 5, 6, 7]);
    feed.record_up_to(10);
    assert_eq!(from_the_beginning.positions(6).await, [5, 6, 7, 8, 9, 10]);

    let mut again = feed.listen("/v1/feed?after=3").await;
    let event = &feed.all[3];
    assert_eq!(
        again.frame().await.unwrap(),
        Frame {
            id: Some(4),
            name: "recorded".to_owned(),
            data: json!({
                "position": 4, "recorded_at": "2026-01-01T00:00:00Z", "stream": "stock-85123A", "revision": 2,
                "event_type": "stock.reserved.v1", "event_id": event.id, "command": "test.command",
                "correlation_id": Uuid::nil(), "causation_id": feed.all[1].id, "idempotency_key": null,
                "actor": {"principal": "shop", "person": "jana"},
                "data": {"order_id": order_id(1), "quantity": 6},
            }),
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_reads_slowly_gets_every_event_although_memory_no_longer_has_them() {
    let feed = following(1, FeedOptions { window_bytes_max: 1, ..FeedOptions::default() });
    let mut slow = feed.listen("/v1/feed").await;
    for count in 2..=10 {
        feed.record_up_to(count);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(slow.positions(9).await, (2..=10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_a_stream_gets_its_newest_event_at_most_four_times_a_second() {
    let feed = following(2, FeedOptions::default());
    let stream = format!("/v1/feed?stream=order-{}", order_id(1));
    let mut listener = feed.listen(&stream).await;
    feed.record_up_to(5);
    assert_eq!(listener.positions(1).await, [5]);
    let begun = Instant::now();
    feed.record_up_to(8);
    assert_eq!(listener.positions(1).await, [8]);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    // Events of other streams do not wake it: the next frame is a comment.
    feed.record_up_to(10);
    assert_eq!(listener.frame().await.unwrap().id, None);

    // Two events were recorded since, of which the newest one is sent. After it there is none.
    let mut resumed = feed.listen_after(&stream, Some(2)).await;
    assert_eq!(resumed.positions(1).await, [8]);
    let mut up_to_date = feed.listen(&format!("{stream}&after=8")).await;
    assert_eq!(up_to_date.frame().await.unwrap().id, None);
}

#[tokio::test(start_paused = true)]
async fn tiles_get_the_newest_event_of_the_log() {
    let feed = following(2, FeedOptions::default());
    let mut listener = feed.listen("/v1/feed?topic=tiles").await;
    feed.record_up_to(6);
    assert_eq!(listener.positions(1).await, [6]);
    drop(listener);
    // The follower ends without listeners, and events that nobody has followed are not lost.
    tokio::time::sleep(Duration::from_secs(5)).await;
    feed.record_up_to(9);
    let mut resumed = feed.listen_after("/v1/feed?topic=tiles", Some(6)).await;
    assert_eq!(resumed.positions(1).await, [9]);
    feed.record_up_to(10);
    assert_eq!(resumed.positions(1).await, [10]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_without_a_place_is_refused_until_another_one_leaves() {
    let feed = following(2, FeedOptions { listeners_max: 2, ..FeedOptions::default() });
    let first = feed.listen("/v1/feed").await;
    let _second = feed.listen("/v1/feed?topic=tiles").await;
    feed.api.get("/v1/feed").await.problem(503, "overloaded");
    drop(first);
    feed.listen("/v1/feed").await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_learns_at_the_end_of_the_process_where_to_go_on() {
    let feed = following(3, FeedOptions::default());
    let mut of_log = feed.listen("/v1/feed?after=0").await;
    let mut of_stream = feed.listen(&format!("/v1/feed?stream=order-{}", order_id(9))).await;
    assert_eq!(of_log.positions(3).await, [1, 2, 3]);
    feed.stop.cancel();
    for listener in [&mut of_log, &mut of_stream] {
        let dropped = listener.frame().await.unwrap();
        let data = json!({"after": 3, "reason": "stopping"});
        assert_eq!(dropped, Frame { id: Some(3), name: "dropped".to_owned(), data });
        assert_eq!(listener.frame().await, None);
    }
    let mut late = feed.listen("/v1/feed").await;
    assert_eq!(late.frame().await.unwrap().name, "dropped");
}

#[tokio::test(start_paused = true)]
async fn a_listener_connects_again_after_a_quarter_of_an_hour() {
    let feed = following(3, FeedOptions::default());
    let mut listener = feed.listen("/v1/feed?topic=tiles").await;
    let begun = Instant::now();
    let dropped = loop {
        let frame = listener.frame().await.unwrap();
        if !frame.name.is_empty() {
            break frame;
        }
    };
    assert_eq!((dropped.name.as_str(), &dropped.data), ("dropped", &json!({"after": 3, "reason": "renew"})));
    assert!((895..=905).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(listener.frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_feed_ends_when_the_log_goes_back() {
    let feed = following(3, FeedOptions::default());
    let mut listener = feed.listen("/v1/feed").await;
    feed.log.change(3, |event| event.id = EventId(Uuid::nil()));
    feed.record_up_to(4);
    let dropped = listener.frame().await.unwrap();
    assert_eq!((dropped.name.as_str(), &dropped.data["reason"]), ("dropped", &json!("log_went_back")));
    assert_eq!(listener.frame().await, None);
    feed.api.get("/v1/feed").await.problem(503, "log_went_back");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_place_or_subject_is_refused() {
    let feed = following(3, FeedOptions::default());
    let refused = async |uri: &str| feed.api.get(uri).await.invalid_fields();
    assert_eq!(refused("/v1/feed?after=4").await, ["after"]);
    assert_eq!(refused("/v1/feed?after=-1").await, ["after"]);
    assert_eq!(refused("/v1/feed?stream=stock-A&topic=tiles").await, ["topic"]);
    assert_eq!(refused("/v1/feed?stream=shop-A&topic=orders").await, ["stream", "topic"]);
    let request = Request::get("/v1/feed").header("last-event-id", "x").body(Body::empty()).unwrap();
    assert_eq!(feed.api.send(request).await.invalid_fields(), ["Last-Event-ID"]);
    Api::with(no_log(), QueryApiOptions::default()).get("/v1/feed").await.problem(503, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_feed_is_not_stored_and_not_collected_by_a_proxy() {
    let feed = following(3, FeedOptions::default());
    let answer: Answer = feed.api.get("/v1/feed").await;
    assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert!(answer.text().contains("id: 3\n\n"), "{}", answer.text());
}
