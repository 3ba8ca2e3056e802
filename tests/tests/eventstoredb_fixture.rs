//! The EventStoreDB fixture shows what the real server and its network show.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::Frame,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::net::TcpStream;

type Calls = SendRequest<BoxBody<Bytes, Infallible>>;

async fn connect(server: &Server, nagle: bool) -> Calls {
    let connection = TcpStream::connect(server.address()).await.unwrap();
    connection.set_nodelay(!nagle).unwrap();
    let (calls, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await.unwrap();
    tokio::spawn(connection);
    calls
}

/// A call with one message, in a frame that follows the headers a little later.
fn call(server: &Server, method: &str, message: &'static [u8]) -> http::Request<BoxBody<Bytes, Infallible>> {
    let body = StreamBody::new(stream::once(async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Ok::<_, Infallible>(Frame::data([&[0], &length[..], message].concat().into()))
    }));
    http::Request::post(format!("http://{}/event_store.client.{method}", server.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body.boxed())
        .unwrap()
}

/// The median time of a small call on a connection of its own, with Nagle's algorithm or without it.
async fn call_time(server: &Server, nagle: bool) -> Duration {
    let mut calls = connect(server, nagle).await;
    let mut times = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        let answer = calls.send_request(call(server, "gossip.Gossip/Read", &[])).await.unwrap();
        let status = answer.status();
        answer.into_body().collect().await.unwrap();
        times.push(started.elapsed());
        assert_eq!(status, 200);
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_acknowledgements_cost_clients_with_nagles_algorithm_40_ms_a_call() {
    let options = FixtureOptions { delay_acknowledgements: true, ..FixtureOptions::default() };
    let delaying = Server::start(options).await.unwrap();
    let (waiting, at_once) = (call_time(&delaying, true).await, call_time(&delaying, false).await);
    println!("with Nagle's algorithm {waiting:?}, without {at_once:?}");
    assert!(waiting > at_once + Duration::from_millis(25), "{waiting:?}, {at_once:?}");
}

/// Reads one event backwards from the end of the whole log.
const LAST_EVENT: &[u8] = b"\x0a\x0e\x12\x02\x1a\x00\x18\x01\x28\x01\x42\x00\x4a\x02\x0a\x00";

/// Reads up to the first event and drops the rest, until the connection ends. Returns the number of reads.
async fn break_off_reads(server: &Server) -> usize {
    let mut calls = connect(server, false).await;
    for count in 0..2_000 {
        let read = async {
            calls.ready().await?;
            let answer = calls.send_request(call(server, "streams.Streams/Read", LAST_EVENT)).await?;
            answer.into_body().frame().await.expect("an event")
        };
        if read.await.is_err() {
            return count;
        }
    }
    panic!("the connection does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_after_the_planned_number_of_broken_off_reads() {
    let options = FixtureOptions { broken_off_reads_max: Some(100), ..FixtureOptions::default() };
    let server = Server::start(options).await.unwrap();
    server.set_metadata("orders", &serde_json::json!({}));
    server.faults().delay_ends_of_reads(Duration::from_secs(1));
    let reads = break_off_reads(&server).await;
    // The client may start another read before it notices.
    assert!((100..105).contains(&reads), "{reads}");
    assert!(server.calls().broken_off_reads >= 100);
}
