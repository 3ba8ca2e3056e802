//! Many clients at once: limits of connections and of requests that are worked on.

use axum::{
    extract::Request,
    response::Response,
    routing::{get as on_get, post},
};
use infra::http::{
    Problem,
    body::{BodyLimits, BodyReader},
    slots::{self, SlotLimits, Slots},
};
use tokio::sync::Notify;

use super::*;

fn hello() -> Router {
    Router::new().route("/", on_get(ok))
}

/// True if the server closes the connection without an answer.
async fn is_closed(client: &mut Client) -> bool {
    let reading = client.stream.read_buf(&mut client.received);
    matches!(timeout(PATIENCE, reading).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn an_address_has_a_limit_of_connections_and_another_one_is_served() {
    let options = ServerOptions { connections_per_address_max: 2, ..patient() };
    let server = Server::start(hello(), options).await;
    let mut first = server.connect_from("127.0.0.2").await;
    let _second = server.connect_from("127.0.0.2").await;
    assert!(is_closed(&mut server.connect_from("127.0.0.2").await).await);
    for client in [&mut first, &mut server.connect_from("127.0.0.3").await] {
        client.send(get("/")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    drop(first);
    crate::support::eventually("a place of the address is free", async || {
        let mut next = server.connect_from("127.0.0.2").await;
        next.stream.write_all(get("/").as_bytes()).await.ok()?;
        (!is_closed(&mut next).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_has_no_limit_of_connections() {
    let trusted_proxies = ["127.0.0.2".parse().unwrap()].into_iter().collect();
    let options = ServerOptions { connections_per_address_max: 1, trusted_proxies, ..patient() };
    let server = Server::start(hello(), options).await;
    let mut clients = [server.connect_from("127.0.0.2").await, server.connect_from("127.0.0.2").await];
    for client in &mut clients {
        client.send(get("/")).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn slow_clients_make_room_when_all_places_are_taken() {
    const PLACES: usize = 40;
    let server = Server::start(hello(), ServerOptions { connections_max: PLACES, ..patient() }).await;
    let mut good = server.connect().await;
    good.send(get("/")).await;
    assert_eq!(good.answer().await.status, 200);
    let mut slow = Vec::new();
    for number in 0..3 * PLACES {
        let mut client = server.connect_from(&format!("127.0.0.{}", 2 + number % 3)).await;
        // Each has a part of a head. The server may have closed it already.
        let _ = client.stream.write_all(b"GET / HT").await;
        slow.push(client);
    }
    let mut other = server.connect().await;
    other.send(get("/")).await;
    assert_eq!(other.answer().await.status, 200);
    good.send(get("/")).await;
    assert_eq!(good.answer().await.status, 200, "the addresses with many connections make room");
}

/// A server with requests that run until they are released, and the signal that one has begun.
async fn with_slow_requests(options: ServerOptions) -> (Server, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = async move || {
        begins.notify_one();
        waits.notified().await;
        "slow"
    };
    let router = hello().route("/slow", on_get(slow.clone()).post(slow)).route("/livez", on_get(ok));
    (Server::start(router, options).await, begun, go)
}

/// The handler reads no body.
async fn makes_no_room(request: &str) {
    let (server, begun, go) = with_slow_requests(ServerOptions { connections_max: 1, ..patient() }).await;
    let mut client = server.connect().await;
    client.send(request).await;
    begun.notified().await;
    let mut next = server.connect_from("127.0.0.2").await;
    next.send(get("/")).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
    assert_eq!(next.answer().await.status, 200, "the connection makes room after its answer");
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_connection_whose_request_is_worked_on_makes_no_room() {
    makes_no_room(&get("/slow")).await;
    makes_no_room("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").await;
}

fn with_slots(writes_max: usize, reads_max: usize) -> ServerOptions {
    ServerOptions { slots: Slots::new(SlotLimits { writes_max, reads_max }), ..patient() }
}

#[tokio::test]
async fn a_write_without_a_slot_is_refused_before_its_body_and_reads_are_answered() {
    let (server, begun, go) = with_slow_requests(with_slots(1, 1)).await;
    let mut client = server.connect().await;
    client.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    begun.notified().await;
    let mut refused = server.connect().await;
    refused.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").await;
    let answer = refused.answer().await;
    answer.problem(503, "overloaded");
    assert!(answer.head.contains("retry-after: 1") && answer.closes(), "{}", answer.head);
    let mut prompt = server.connect().await;
    for _ in 0..2 {
        prompt.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody").await;
        let answer = prompt.answer().await;
        answer.problem(503, "overloaded");
        assert!(!answer.closes(), "the connection stays open: {}", answer.head);
    }
    for path in ["/", "/livez"] {
        let mut other = server.connect().await;
        other.send(get(path)).await;
        assert_eq!(other.answer().await.status, 200, "{path}");
    }
    go.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
}

#[tokio::test]
async fn health_is_answered_while_all_slots_are_taken() {
    let (server, begun, go) = with_slow_requests(with_slots(1, 1)).await;
    let mut client = server.connect().await;
    client.send(get("/slow")).await;
    begun.notified().await;
    let mut other = server.connect().await;
    other.send(get("/livez") + &get("/")).await;
    assert_eq!(other.answer().await.status, 200);
    other.answer().await.problem(503, "overloaded");
    go.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
}

#[tokio::test]
async fn a_body_that_arrives_slowly_occupies_no_slot() {
    let limits =
        BodyLimits { bytes_max: 64, read_timeout: Duration::from_hours(1), shared_bytes_max: 64 * 1024 };
    let reader = BodyReader::new(limits);
    let answer = async move |request: Request| -> Result<Response, Problem> {
        let read = reader.read(request.into_body()).await?;
        Ok(read.len().to_string().into_response())
    };
    let server = Server::start(Router::new().route("/", post(answer)), with_slots(3, 1)).await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n";
    let mut slow = [server.connect().await, server.connect().await, server.connect().await];
    for client in &mut slow {
        client.send(head.to_owned() + "sl").await;
    }
    let mut prompt = server.connect().await;
    prompt.send(head.to_owned() + "fast").await;
    assert_eq!(prompt.answer().await.body, b"4");
    for client in &mut slow {
        client.send("ow").await;
        assert_eq!(client.answer().await.body, b"4");
    }
}

#[tokio::test]
async fn a_handler_that_waits_outside_occupies_no_slot() {
    let waiting = on_get(async || {
        slots::give_up();
        std::future::pending::<()>().await;
    });
    let server = Server::start(hello().route("/waiting", waiting), with_slots(1, 1)).await;
    let mut clients = [server.connect().await, server.connect().await];
    for client in &mut clients {
        client.send(get("/waiting")).await;
    }
    let mut other = server.connect().await;
    other.send(get("/")).await;
    assert_eq!(other.answer().await.status, 200);
}
