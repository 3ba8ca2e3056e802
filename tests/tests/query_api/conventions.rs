//! Conventions of every query: problems, parameters, limits, overload and health.

use std::sync::Arc;

use axum::http::{Method, header};
use domain::EventId;
use infra::{
    clock::Clock,
    event_source::Partition,
    health::Health,
    http::{Code, ServerOptions},
    read_models::{CheckpointRow, ParkedStream, Projection, ReadModelError},
};
use query_api::{QueryApi, QueryApiOptions};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::yield_now};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Api, documentation,
    fake::FakeQueries,
    no_log,
    rows::{at, sku, stock_row},
};

/// One URL for each endpoint that answers a query.
fn query_endpoints() -> Vec<String> {
    let urls = documentation::urls().filter(|url| url.starts_with("/v1/") && !url.starts_with("/v1/feed"));
    urls.collect()
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let api = Api::new();
    for path in ["/order", "/v1", "/v1/order", "/v1/orders/", "/v1/orders/1/lines", "/v2/orders", "/%FF"] {
        api.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn an_unsupported_method_is_a_problem_that_lists_the_supported_ones() {
    let api = Api::new();
    for path in query_endpoints() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = api.method(method, &path).await;
            answer.problem(405, "method_not_allowed");
            assert_eq!(answer.header(header::ALLOW), Some("GET,HEAD"), "{path}");
        }
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let api = Api::new();
    api.queries.change(|rows| rows.stock.push(stock_row("A", 1, 0)));
    let get = api.get("/v1/stock/A").await;
    let head = api.method(Method::HEAD, "/v1/stock/A").await;
    assert_eq!((head.status, head.body.len()), (get.status, 0));
    assert_eq!(head.header(header::ETAG), get.header(header::ETAG));
    assert_eq!(head.header(header::CONTENT_LENGTH), Some(get.body.len().to_string().as_str()));
}

#[tokio::test]
async fn an_unknown_repeated_or_undecodable_parameter_is_refused_by_every_endpoint() {
    let api = Api::new();
    for path in query_endpoints() {
        let with = |parameter: &str| match path.split_once('?') {
            None => format!("{path}?{parameter}"),
            Some(_) => format!("{path}&{parameter}"),
        };
        assert_eq!(api.get(&with("colour=red")).await.invalid_fields(), ["colour"], "{path}");
        assert_eq!(api.get(&with("colour=%FF")).await.invalid_fields(), ["colour"], "{path}");
        let repeated = api.get(&with("colour=1&colour=2")).await.invalid_fields();
        assert_eq!(repeated, ["colour", "colour"], "repeated and unknown: {path}");
    }
}

#[tokio::test]
async fn a_limit_is_from_1_to_200() {
    let api = Api::new();
    for list in ["/v1/orders", "/v1/stock", "/v1/payments"] {
        for limit in [1, 200] {
            api.get(&format!("{list}?limit={limit}")).await.expect(200);
        }
        for limit in ["0", "201", "-1", "ten", "", "1e2", "99999999999999999999"] {
            let answer = api.get(&format!("{list}?limit={limit}")).await;
            assert_eq!(answer.invalid_fields(), ["limit"], "{limit}");
        }
    }
}

#[tokio::test]
async fn failing_read_models_give_503_or_500_without_the_inner_error() {
    let secret = "/var/lib/orderly: password rejected";
    let unavailable = ReadModelError::Unavailable(secret.into());
    let damaged = ReadModelError::Corrupt(secret.into());
    for (failure, status, code) in [(unavailable, 503, "unavailable"), (damaged, 500, "internal")] {
        let api = Api::new();
        api.queries.rows().failure = Some(failure);
        // The log and the operational state are no read models.
        let of_others = |path: &str| path == "/v1/events" || path.starts_with("/v1/reconciliations");
        for path in query_endpoints().into_iter().filter(|path| !of_others(path)) {
            let answer = api.get(&path).await;
            answer.problem(status, code);
            assert!(!String::from_utf8(answer.body).unwrap().contains("password"), "{path}");
        }
        api.get("/readyz").await.problem(status, code);
        assert_eq!(api.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_panic_gives_500_without_the_panic_message() {
    let api = Api::new();
    api.queries.rows().panics = true;
    let answer = api.get("/v1/stock/A").await;
    answer.problem(500, "internal");
    assert!(!String::from_utf8(answer.body).unwrap().contains("secrets"));
}

#[tokio::test]
async fn a_query_beyond_the_limit_is_refused_and_running_queries_are_answered() {
    let api = Api::with_options(QueryApiOptions { queries_max: 2, ..QueryApiOptions::default() });
    api.queries.gate.forget_permits(Semaphore::MAX_PERMITS);
    let third = async {
        yield_now().await;
        for path in query_endpoints() {
            api.get(&path).await.problem(503, "overloaded");
        }
        assert_eq!(api.get("/livez").await.status, 200);
        api.queries.gate.add_permits(1_000);
    };
    let (first, second, ()) = tokio::join!(api.get("/v1/stock"), api.get("/v1/orders"), third);
    first.expect(200);
    second.expect(200);
    api.get("/v1/stock").await.expect(200);
}

#[tokio::test]
async fn projections_have_positions_lag_and_parked_streams_without_reasons() {
    let api = Api::new();
    let parked = ParkedStream {
        projection: Projection::Stock,
        stream: sku("A").into(),
        partition: Partition::whole_log(),
        event_id: EventId(Uuid::from_u128(1)),
        revision: 4,
        position: 9,
        reason: "a reason with internals".to_owned(),
        parked_at: at("2026-01-01T00:00:00Z"),
    };
    let checkpoint = |projection: Projection, position| CheckpointRow {
        projection: projection.to_string(),
        partition: Partition::whole_log(),
        position,
        log_position: position,
        last_event: None,
        updated_at: position.map(|_| at("2026-01-01T00:00:01Z")),
    };
    api.queries.change(|rows| {
        rows.checkpoints = vec![checkpoint(Projection::Orders, Some(7)), checkpoint(Projection::Stock, None)];
        rows.parked.push(parked);
    });
    let before = api.get("/v1/projections").await.expect(200);
    assert_eq!((&before["head"], &before["projections"][0]["lag_events"]), (&json!(null), &json!(null)));

    api.queries.log_head.send_replace(Some(10));
    assert_eq!(
        api.get("/v1/projections").await.expect(200),
        json!({
            "head": 10,
            "projections": [
                {"projection": "orders", "partition": "log", "position": 7, "log_position": 7, "lag_events": 3,
                 "updated_at": "2026-01-01T00:00:01Z"},
                {"projection": "stock", "partition": "log", "position": null, "log_position": null,
                 "lag_events": 10, "updated_at": null},
            ],
            "parked": [{
                "projection": "stock", "stream": "stock-A", "event_id": Uuid::from_u128(1),
                "revision": 4, "position": 9, "parked_at": "2026-01-01T00:00:00Z",
            }],
        })
    );
}

#[tokio::test]
async fn a_process_with_read_models_is_live_and_ready() {
    let api = Api::new();
    assert_eq!(api.get("/livez").await.status, 200);
    assert_eq!(api.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn readiness_lists_what_is_degraded_and_is_refused_while_a_role_cannot_work() {
    let health = Health::default();
    let api = Api::with_health(health.clone());
    health.degraded("parked_streams", "1 stream is parked");
    let degraded = json!([{ "name": "parked_streams", "detail": "1 stream is parked" }]);
    assert_eq!(api.get("/readyz").await.json(), json!({ "status": "ready", "degraded": degraded }));
    health.unable("log_went_back", "repair the log");
    let refused = api.get("/readyz").await;
    refused.problem(503, "not_ready");
    assert_eq!(refused.json()["condition"], "log_went_back");
    health.resolve("log_went_back");
    assert_eq!(api.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn every_problem_has_a_page_under_its_type() {
    let api = Api::new();
    for code in Code::ALL {
        let page = api.get(&format!("/problems/{}", code.as_str())).await;
        assert_eq!(page.status, 200);
        assert!(String::from_utf8(page.body).unwrap().contains(code.help()));
    }
    assert_eq!(api.get("/problems").await.status, 200);
    api.get("/problems/unheard_of").await.problem(404, "not_found");
}

#[tokio::test]
async fn the_api_is_served_until_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/livez", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let api = QueryApi::new(
        Arc::new(FakeQueries::default()),
        None,
        no_log(),
        Clock::system(),
        QueryApiOptions::default(),
    );
    let serving = tokio::spawn(query_api::run(listener, api, ServerOptions::default(), shutdown.clone()));
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
    shutdown.cancel();
    serving.await.unwrap();
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());
}
