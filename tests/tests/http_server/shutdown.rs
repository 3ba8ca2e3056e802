//! The shutdown cuts no request.

use axum::routing::get as on_get;
use tokio::sync::Notify;

use super::*;

/// A server with requests that run until they are released, and the signal that one has begun.
async fn with_slow_requests(options: ServerOptions) -> (Server, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = async move || {
        begins.notify_one();
        waits.notified().await;
        "slow"
    };
    let router = Router::new().route("/", on_get(ok)).route("/slow", on_get(slow));
    (Server::start(router, options).await, begun, go)
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_later_ones_of_its_connection_are_not_executed() {
    let (server, begun, go) = with_slow_requests(patient()).await;
    let mut client = server.connect().await;
    client.send(get("/slow") + &get("/slow") + &get("/")).await;
    begun.notified().await;
    server.begin_shutdown().await;
    go.notify_one();
    let answer = client.answer().await;
    assert_eq!(answer.body, b"slow");
    assert!(answer.closes());
    client.end().await;
    server.ended().await;
}

#[tokio::test]
async fn requests_on_idle_connections_are_answered_within_the_grace_time() {
    let options = ServerOptions { idle_grace: Duration::from_hours(1), ..patient() };
    let (server, _, _) = with_slow_requests(options).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.send(get("/")).await;
        assert!(!client.answer().await.closes());
        clients.push(client);
    }
    server.begin_shutdown().await;
    for mut client in clients {
        client.send(get("/")).await;
        let answer = client.answer().await;
        assert!(answer.status == 200 && answer.closes(), "{answer:?}");
        client.end().await;
    }
    // The server does not wait for the rest of the grace time.
    server.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_grace_time() {
    let (server, _, _) = with_slow_requests(patient()).await;
    let mut used = server.connect().await;
    used.send(get("/")).await;
    assert_eq!(used.answer().await.status, 200);
    let unused = server.connect().await;
    server.shutdown.cancel();
    server.ended().await;
    for client in [used, unused] {
        client.end().await;
    }
}

#[tokio::test]
async fn requests_that_outlast_the_drain_time_are_cut() {
    let options = ServerOptions { drain_timeout: Duration::ZERO, ..patient() };
    let (server, begun, _go) = with_slow_requests(options).await;
    let mut client = server.connect().await;
    client.send(get("/slow")).await;
    begun.notified().await;
    server.shutdown.cancel();
    server.ended().await;
    client.end().await;
}

#[tokio::test]
async fn connections_are_accepted_for_the_drain_delay_and_their_answers_end_them() {
    let options = ServerOptions { drain_delay: Duration::from_hours(1), ..patient() };
    let (server, _, _) = with_slow_requests(options).await;
    server.shutdown.cancel();
    crate::support::eventually("answers end their connections", async || {
        let mut client = server.connect().await;
        client.send(get("/")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        answer.closes().then_some(())
    })
    .await;
    server.serving.abort();
}
