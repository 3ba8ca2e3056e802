//! The feed over the server of the APIs, whose time limits and bounds must not end the answer of a client that reads.

use std::time::Duration;

use infra::http::{ServerOptions, serve};
use query_api::FeedOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Following, following};
use crate::support::{PATIENCE, eventually};

/// Larger than the buffers of a connection.
const EVENTS: u64 = 20_000;

/// A feed of many events over a server with short time limits.
async fn served(options: FeedOptions) -> (Following, std::net::SocketAddr, CancellationToken) {
    let mut feed = following(1, options);
    let event = feed.all[0].clone();
    feed.all = (1..=EVENTS)
        .map(|position| {
            let mut event = event.clone();
            (event.position, event.revision) = (position, position - 1);
            event.id.0 = Uuid::from_u128(position.into());
            event.data = format!("\"{}\"", "x".repeat(1_000)).into_bytes().into();
            event
        })
        .collect();
    feed.log.change(1, |event| *event = feed.all[0].clone());
    feed.record_up_to(feed.all.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let options = ServerOptions {
        idle_timeout: Duration::from_millis(100),
        head_read_timeout: Duration::from_millis(100),
        answer_write_timeout: Duration::from_millis(500),
        drain_timeout: PATIENCE,
        ..ServerOptions::default()
    };
    tokio::spawn(serve(listener, feed.api.router.clone(), options, shutdown.clone()));
    (feed, address, shutdown)
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET /v1/feed?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream
}

/// The id of the last whole frame.
fn last_id(received: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(received);
    let (whole, _) = text.rsplit_once("\n\n")?;
    whole.lines().rev().find_map(|line| line.strip_prefix("id: ")?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_is_kept_and_one_that_does_not_read_is_closed_with_a_place_to_go_on() {
    let (feed, address, _shutdown) = served(FeedOptions { listeners_max: 2, ..FeedOptions::default() }).await;
    let mut reading = connect(address).await;
    let mut stuck = connect(address).await;
    let mut received = Vec::new();
    let reading_all = async {
        while last_id(&received[received.len().saturating_sub(8_000)..]) != Some(EVENTS) {
            assert!(reading.read_buf(&mut received).await.unwrap() > 0, "the server has ended the answer");
        }
    };
    timeout(PATIENCE, reading_all).await.expect("every event in time");
    // The place of the other client is free once the server has closed it: after the time limits, which count for both.
    eventually("the server closes the client that does not read", async || {
        (feed.api.get("/v1/feed").await.status == 200).then_some(())
    })
    .await;

    let mut left_over = Vec::new();
    let outcome = timeout(PATIENCE, stuck.read_to_end(&mut left_over)).await.expect("the server closes it");
    // A client may see a reset in place of the end.
    assert!(outcome.is_ok() || !left_over.is_empty(), "{outcome:?}");
    let id = last_id(&left_over).expect("a whole event");
    assert!(id < EVENTS, "{id}");

    let mut more = feed.all.clone();
    let mut next = more[0].clone();
    (next.position, next.revision, next.id.0) = (EVENTS + 1, EVENTS, Uuid::from_u128(1 << 64));
    more.push(next);
    feed.log.extend(&more);
    let going_on = async {
        while last_id(&received[received.len().saturating_sub(8_000)..]) != Some(EVENTS + 1) {
            assert!(reading.read_buf(&mut received).await.unwrap() > 0, "the server has ended the answer");
        }
    };
    timeout(PATIENCE, going_on).await.expect("the new event in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shutdown_does_not_wait_for_listeners() {
    let (feed, address, shutdown) = served(FeedOptions::default()).await;
    let mut listener = connect(address).await;
    let mut received = Vec::new();
    while last_id(&received) != Some(EVENTS) {
        let mut part = vec![0; 1 << 20];
        let count = timeout(PATIENCE, listener.read(&mut part)).await.expect("bytes in time").unwrap();
        assert!(count > 0, "the server has ended the answer");
        part.truncate(count);
        received.extend(part);
        received.drain(..received.len().saturating_sub(8_000));
    }
    shutdown.cancel();
    feed.stop.cancel();
    let ending = listener.read_to_end(&mut received);
    timeout(PATIENCE / 2, ending).await.expect("the answer ends before the drain time").unwrap();
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains(&format!("event: dropped\ndata: {{\"after\":{EVENTS}")), "{text}");
}
