//! Request bodies over sockets.

use axum::{
    extract::Request,
    response::Response,
    routing::{head, post},
};
use infra::http::{
    Problem,
    body::{BodyLimits, BodyReader},
};

use super::*;

const KIB: usize = 1024;

/// A server that answers with the length of the body.
async fn with_bodies(read_timeout: Duration, shared_bytes_max: usize) -> (Server, BodyReader) {
    let reader = BodyReader::new(BodyLimits { bytes_max: 64 * KIB, read_timeout, shared_bytes_max });
    let reading = reader.clone();
    let answer = async move |request: Request| -> Result<Response, Problem> {
        let read = reading.read(request.into_body()).await?;
        Ok(read.len().to_string().into_response())
    };
    let router = Router::new().route("/", post(answer)).route("/unread", post(ok)).route("/", head(ok));
    (Server::start(router, patient()).await, reader)
}

fn post_of(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn bodies_that_arrive_byte_by_byte_occupy_at_most_twice_their_size() {
    const CLIENTS: usize = 8;
    let (server, reader) = with_bodies(Duration::from_hours(1), CLIENTS * 34 * KIB).await;
    let length = 17 * KIB;
    let sending = (0..CLIENTS).map(async |_| {
        let mut client = server.connect().await;
        client.send(post_of("/", length)).await;
        for _ in 0..length {
            client.send(b" ").await;
            assert!(reader.shared_bytes() <= CLIENTS * 2 * length, "{}", reader.shared_bytes());
        }
        assert_eq!(client.answer().await.body, length.to_string().as_bytes());
    });
    futures::future::join_all(sending).await;
    assert_eq!(reader.shared_bytes(), 0);
}

#[tokio::test]
async fn a_large_body_is_refused_while_others_occupy_the_memory_and_a_small_one_is_read() {
    let (server, reader) = with_bodies(Duration::from_hours(1), 64 * KIB).await;
    let mut held = server.connect().await;
    held.send(post_of("/", 60 * KIB)).await;
    held.send(vec![b' '; 59 * KIB]).await;
    crate::support::eventually("the memory is occupied", async || {
        (reader.shared_bytes() >= 59 * KIB).then_some(())
    })
    .await;

    let mut large = server.connect().await;
    large.send(post_of("/", 20 * KIB)).await;
    large.send(vec![b' '; 20 * KIB]).await;
    let refused = large.answer().await;
    refused.problem(503, "overloaded");
    assert!(refused.head.contains("retry-after: 1\r\n") && refused.closes(), "{}", refused.head);
    large.end().await;
    let mut small = server.connect().await;
    small.send(post_of("/", 16 * KIB)).await;
    small.send(vec![b' '; 16 * KIB]).await;
    assert_eq!(small.answer().await.status, 200);

    held.send(vec![b' '; KIB]).await;
    assert_eq!(held.answer().await.status, 200);
    assert_eq!(reader.shared_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_answered_with_408_and_the_connection_ends() {
    let (server, _) = with_bodies(Duration::from_secs(10), 64 * KIB).await;
    let mut client = server.connect().await;
    client.send(post_of("/", 2) + " ").await;
    let answer = client.answer().await;
    answer.problem(408, "request_timeout");
    assert!(answer.closes());
    client.end().await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends_and_the_rest_is_not_a_request() {
    let (server, _) = with_bodies(Duration::from_hours(1), 64 * KIB).await;
    for (path, length, status) in
        [("/", 4 * 1024 * KIB, 413), ("/unread", 4 * 1024 * KIB, 200), ("/unread", 33, 200)]
    {
        let mut client = server.connect().await;
        client.send(post_of(path, length)).await;
        let smuggled = get("/");
        client.send(&smuggled.repeat(length / smuggled.len() + 1).as_bytes()[..length]).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{path} {length}");
        assert!(answer.closes(), "{path} {length}");
        client.end().await;
    }
}

#[tokio::test]
async fn answers_without_a_body_to_requests_with_one_do_not_pile_up() {
    let (server, _) = with_bodies(Duration::from_hours(1), 64 * KIB).await;
    let mut client = server.connect().await;
    let head = "HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    client.send(head.repeat(100)).await;
    while client.receive().await {}
    let answers = String::from_utf8(client.received).unwrap().to_lowercase();
    assert_eq!(answers.matches("http/1.1 200").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

#[tokio::test]
async fn a_connection_stays_open_after_a_body_was_read() {
    let (server, _) = with_bodies(Duration::from_hours(1), 64 * KIB).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(post_of("/", 2) + "{}").await;
        let answer = client.answer().await;
        assert!(answer.status == 200 && !answer.closes(), "{answer:?}");
        let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        client.send(chunked).await;
        let answer = client.answer().await;
        assert!(answer.body == b"2" && !answer.closes(), "{answer:?}");
    }
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    client.answer().await.problem(400, "malformed_json");
}
