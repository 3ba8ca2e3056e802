//! Answers leave in order and at once, and clients that do not read them do not fill the memory.

use axum::{extract::Path, routing::get as on_get};
use tokio::sync::Notify;

use super::*;
use crate::support::eventually;

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_executed_one_after_another() {
    const REQUESTS: usize = 60;
    static ANSWER: [u8; 256 * 1024] = [b' '; 256 * 1024];
    let (memory, most) = (Memory::default(), Arc::new(AtomicUsize::new(0)));
    let (made, most_made) = (memory.clone(), Arc::clone(&most));
    let router = Router::new().route(
        "/{number}",
        on_get(async move |Path(number): Path<String>| {
            let bytes = made.answer(&ANSWER);
            most_made.fetch_max(made.answers(), Ordering::Relaxed);
            ([("number", number)], bytes)
        }),
    );
    let server = Server::start(router, patient()).await;
    let mut client = server.connect().await;
    client.send((0..REQUESTS).map(|number| get(&format!("/{number}"))).collect::<String>()).await;
    for number in 0..REQUESTS {
        let answer = client.answer().await;
        assert!(answer.head.contains(&format!("number: {number}\r\n")), "{}", answer.head);
        assert_eq!(answer.body.len(), ANSWER.len());
    }
    assert_eq!(most.load(Ordering::Relaxed), 1, "answers of one connection in memory");
}

#[tokio::test]
async fn an_answer_leaves_while_the_next_request_runs() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let router = Router::new().route("/", on_get(ok)).route(
        "/slow",
        on_get(async move || {
            wait.notified().await;
            "slow"
        }),
    );
    let server = Server::start(router, patient()).await;
    let mut client = server.connect().await;
    client.send(get("/") + &get("/slow") + &get("/")).await;
    assert_eq!(client.answer().await.body, b"ok");
    go.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
    assert_eq!(client.answer().await.body, b"ok");
}

#[tokio::test]
async fn line_breaks_between_requests_are_ignored() {
    let server = Server::start(Router::new().route("/", on_get(ok)), patient()).await;
    let mut client = server.connect().await;
    for breaks in ["\r\n", "\r\n\r\n", "\n", ""] {
        client.send(get("/") + breaks).await;
        assert_eq!(client.answer().await.status, 200, "{breaks:?}");
    }
}

/// A server with a large answer under `/large` and a small one under `/`.
async fn with_large_answers(options: ServerOptions) -> (Server, Memory, Arc<AtomicUsize>) {
    let (memory, executed) = (Memory::default(), Arc::new(AtomicUsize::new(0)));
    let (made, count) = (memory.clone(), Arc::clone(&executed));
    let router = Router::new().route("/", on_get(ok)).route(
        "/large",
        on_get(async move || {
            count.fetch_add(1, Ordering::Relaxed);
            made.answer(&LARGE_ANSWER)
        }),
    );
    (Server::start(router, options).await, memory, executed)
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_disconnected() {
    let options = ServerOptions { answer_write_timeout: Duration::ZERO, ..patient() };
    let (server, memory, executed) = with_large_answers(options).await;
    // One second for each 64 KiB: without that time, also clients that read slowly would be disconnected.
    tokio::time::pause();
    let mut client = server.connect().await;
    client.send(get("/large") + &get("/large")).await;
    let started = tokio::time::Instant::now();
    let cut = async {
        while executed.load(Ordering::Relaxed) == 0 || memory.answers() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_hours(1), cut).await.expect("the answer is dropped");
    let seconds = started.elapsed().as_secs();
    assert!((512..520).contains(&seconds), "{seconds} s");
    assert_eq!(executed.load(Ordering::Relaxed), 1, "the second request is not executed");
}

#[tokio::test]
async fn unread_answers_of_all_clients_are_bounded_and_a_client_that_reads_is_served() {
    const CLIENTS: usize = 30;
    let options = ServerOptions { stalled_bytes_max: 3 * LARGE, ..patient() };
    let (server, memory, executed) = with_large_answers(options).await;
    let mut hostile = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.connect().await;
        client.send(get("/large")).await;
        hostile.push(client);
    }
    eventually("only three unread answers are left", async || {
        (executed.load(Ordering::Relaxed) == CLIENTS && memory.answers() == 3).then_some(())
    })
    .await;
    // Its answer stalls too, because it is larger than the buffers. But older answers make room.
    let mut good = server.connect().await;
    for _ in 0..3 {
        good.send(get("/large")).await;
        assert_eq!(good.answer().await.body.len(), LARGE);
    }
    eventually("the oldest answer has left", async || (memory.answers() == 2).then_some(())).await;
    drop(hostile);
    eventually("all answers have left", async || (memory.answers() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_gets_its_answer() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = async move || {
        begins.notify_one();
        waits.notified().await;
        "slow"
    };
    let server = Server::start(Router::new().route("/slow", on_get(slow)), patient()).await;
    let mut client = server.connect().await;
    client.send(get("/slow")).await;
    client.stream.shutdown().await.unwrap();
    begun.notified().await;
    // Lets the server see the end of the requests before it has the answer.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_half_a_request_is_answered_with_408() {
    let (head_read_timeout, idle_timeout) = (Duration::from_secs(10), Duration::from_secs(25));
    let options = ServerOptions { head_read_timeout, idle_timeout, ..patient() };
    let server = Server::start(Router::new().route("/", on_get(ok)), options).await;
    let mut idle = server.connect().await;
    idle.send(get("/")).await;
    assert_eq!(idle.answer().await.status, 200);
    let unused = server.connect().await;
    let mut half = server.connect().await;
    let begun = tokio::time::Instant::now();
    half.send("GET / HTTP/1.1\r\nHost: local").await;
    half.answer().await.problem(408, "request_timeout");
    assert!((head_read_timeout..idle_timeout).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    half.end().await;
    idle.end().await;
    assert!(begun.elapsed() > 2 * head_read_timeout, "{:?}", begun.elapsed());
    unused.end().await;
}
