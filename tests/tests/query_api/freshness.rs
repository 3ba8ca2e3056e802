//! `min_revision` and `If-None-Match`.

use std::{sync::Arc, time::Duration};

use axum::http::header;
use domain::{EventId, Revision};
use futures::future::join_all;
use infra::{
    event_source::Partition,
    read_models::{ParkedStream, Projection, StockRow},
};
use query_api::QueryApiOptions;
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Api,
    rows::{at, sku, stock_row},
};
use crate::support::eventually;

const WAIT: Duration = Duration::from_secs(2);

fn at_revision(revision: Revision) -> StockRow {
    StockRow { revision, ..stock_row("A", 10, 0) }
}

fn parked() -> ParkedStream {
    ParkedStream {
        projection: Projection::Stock,
        stream: sku("A").into(),
        partition: Partition::whole_log(),
        event_id: EventId(Uuid::from_u128(1)),
        revision: 4,
        position: 9,
        reason: "a reason with internals".to_owned(),
        parked_at: at("2026-01-01T00:00:00Z"),
    }
}

#[tokio::test]
async fn a_known_revision_is_answered_with_304() {
    let api = Api::new();
    api.queries.change(|rows| rows.stock.push(at_revision(3)));
    for tags in ["\"3\"", "W/\"3\"", "\"1\", \"3\"", "*"] {
        let answer = api.get_if_none_match("/v1/stock/A", tags).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tags}");
        assert_eq!(answer.header(header::ETAG), Some("\"3\""), "{tags}");
    }
    for tags in ["\"2\"", "3", "\"33\"", ""] {
        let answer = api.get_if_none_match("/v1/stock/A", tags).await;
        assert_eq!(answer.expect(200)["revision"], 3, "{tags}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reached_revision_is_answered_at_once() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.stock.push(at_revision(3));
        rows.parked.push(parked());
    });
    let start = Instant::now();
    for min_revision in 0..=3 {
        api.get(&format!("/v1/stock/A?min_revision={min_revision}")).await.expect(200);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_arrives_during_the_wait_ends_it() {
    let api = Api::new();
    let projector = async {
        for revision in 0..=5 {
            yield_now().await;
            assert!(api.queries.rows().reads > 0, "the request has not read before the change");
            api.queries.change(|rows| rows.stock = vec![at_revision(revision)]);
        }
    };
    let (answer, ()) = tokio::join!(api.get("/v1/stock/A?min_revision=5"), projector);
    assert_eq!(answer.expect(200)["revision"], 5);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_arrives_between_the_read_and_the_wait_is_not_missed() {
    let api = Api::new();
    api.queries.rows().after_next_read = Some(Box::new(|rows| rows.stock.push(at_revision(0))));
    let start = Instant::now();
    api.get("/v1/stock/A?min_revision=0").await.expect(200);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_revision_ends_after_2_seconds() {
    let api = Api::new();
    api.queries.change(|rows| rows.stock.push(at_revision(3)));
    for (uri, detail) in [
        ("/v1/stock/A?min_revision=4", "the read model has revision 3; 4 is required"),
        ("/v1/stock/B?min_revision=0", "the read model has no revision of the resource yet; 0 is required"),
    ] {
        let start = Instant::now();
        let problem = api.get(uri).await.problem(503, "revision_not_reached");
        assert_eq!(problem["detail"], detail);
        assert_eq!(start.elapsed().as_secs(), WAIT.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_other_resources_do_not_extend_the_wait() {
    let api = Api::new();
    let busy_elsewhere = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            api.queries.change(|_| ());
        }
    };
    let start = Instant::now();
    let answer = tokio::select! {
        answer = api.get("/v1/stock/A?min_revision=0") => answer,
        () = busy_elsewhere => unreachable!(),
    };
    answer.problem(503, "revision_not_reached");
    assert_eq!(start.elapsed().as_secs(), WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_parked_stream_is_answered_without_waiting() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.stock.push(at_revision(3));
        rows.parked.push(parked());
    });
    let start = Instant::now();
    api.get("/v1/stock/A?min_revision=4").await.problem(503, "projection_parked");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn parking_the_stream_ends_the_wait() {
    let api = Api::new();
    let start = Instant::now();
    let projector = async {
        yield_now().await;
        api.queries.change(|rows| rows.parked.push(parked()));
    };
    let (answer, ()) = tokio::join!(api.get("/v1/stock/A?min_revision=4"), projector);
    answer.problem(503, "projection_parked");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_commit_makes_only_the_requests_of_its_stream_look_again() {
    let api = Arc::new(Api::with_options(QueryApiOptions { queries_max: 1, ..QueryApiOptions::default() }));
    let ask = |sku: usize| {
        let api = Arc::clone(&api);
        tokio::spawn(async move { api.get(&format!("/v1/stock/{sku}?min_revision=1")).await })
    };
    let mut waiting: Vec<_> = (0..1_000).map(ask).collect();
    // Each request reads its row, and whether its stream is parked.
    let before = 2 * waiting.len();
    eventually("every request waits", async || (api.queries.rows().reads == before).then_some(())).await;
    let row = StockRow { revision: 1, ..stock_row("7", 10, 0) };
    api.queries.change_stream(&sku("7").into(), |rows| rows.stock.push(row));
    waiting.remove(7).await.unwrap().expect(200);
    assert_eq!(api.queries.rows().reads, before + 1);
    // The waiting requests leave the only place to another one.
    api.get("/v1/stock/7").await.expect(200);
    for answer in join_all(waiting).await {
        answer.unwrap().problem(503, "revision_not_reached");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_do_not_count_as_running_queries() {
    let api = Api::with_options(QueryApiOptions { queries_max: 1, ..QueryApiOptions::default() });
    api.queries.change(|rows| rows.stock.push(at_revision(3)));
    let waiting = timeout(WAIT / 2, api.get("/v1/stock/A?min_revision=4"));
    let reading = async {
        yield_now().await;
        api.get("/v1/stock/A").await
    };
    let (waited, read) = tokio::join!(waiting, reading);
    assert!(waited.is_err(), "the request did not wait for the revision");
    read.expect(200);
}

#[tokio::test]
async fn min_revision_is_a_whole_number_and_only_single_resources_accept_it() {
    let api = Api::new();
    for bad in ["-1", "1.0", "latest", "", "18446744073709551616"] {
        let answer = api.get(&format!("/v1/stock/A?min_revision={bad}")).await;
        assert_eq!(answer.invalid_fields(), ["min_revision"], "{bad}");
    }
    for list in ["/v1/stock", "/v1/orders", "/v1/payments", "/v1/stock/A/reservations", "/v1/projections"] {
        assert_eq!(
            api.get(&format!("{list}?min_revision=1")).await.invalid_fields(),
            ["min_revision"],
            "{list}"
        );
    }
}
