//! The server of the APIs over raw sockets: hostile and broken clients, and the shutdown.

mod answers;
mod bodies;
mod crowds;
mod malformed;
mod protection;
mod shutdown;

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, http::StatusCode, response::IntoResponse};
use infra::http::{ServerOptions, serve};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;

/// Time limits that no test reaches, and a short wait for nothing at the shutdown.
fn patient() -> ServerOptions {
    let long = Duration::from_hours(1);
    ServerOptions {
        head_read_timeout: long,
        idle_timeout: long,
        answer_write_timeout: long,
        idle_grace: Duration::ZERO,
        drain_timeout: long,
        ..ServerOptions::default()
    }
}

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, options: ServerOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, router, options, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn connect(&self) -> Client {
        self.connect_from("127.0.0.1").await
    }

    /// Connects from another address of this machine.
    async fn connect_from(&self, address: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, received: Vec::new() }
    }

    /// Begins the shutdown, and waits until the server accepts no connection.
    async fn begin_shutdown(&self) {
        self.shutdown.cancel();
        crate::support::eventually("the listener closes", async || {
            TcpStream::connect(self.address).await.is_err().then_some(())
        })
        .await;
    }

    /// Waits until the last connection has ended.
    async fn ended(self) {
        timeout(PATIENCE, self.serving).await.expect("the server ends in time").unwrap();
    }
}

/// A client that sends any bytes.
struct Client {
    stream: TcpStream,
    /// Bytes after the last answer.
    received: Vec<u8>,
}

#[derive(Debug)]
struct RawAnswer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl RawAnswer {
    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }

    #[track_caller]
    fn problem(&self, status: u16, code: &str) {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!((self.status, &problem["code"]), (status, &code.into()), "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
    }
}

/// A request without a body.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("bytes leave in time").unwrap();
    }

    /// Reads more bytes. False at the end of the connection.
    async fn receive(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.received);
        timeout(PATIENCE, reading).await.expect("bytes in time").unwrap() > 0
    }

    /// The next answer. Panics if the connection ends first.
    async fn answer(&mut self) -> RawAnswer {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            let so_far = String::from_utf8_lossy(&self.received).into_owned();
            assert!(self.receive().await, "the connection ended after {so_far:?}");
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap().to_lowercase();
        let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
            let digits = rest.split("\r\n").next().unwrap();
            digits.parse().unwrap()
        });
        while self.received.len() < length {
            assert!(self.receive().await, "the connection ended within a body");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        RawAnswer { status, head, body: self.received.drain(..length).collect() }
    }

    /// Checks that the server closes the connection without a further byte, and without resetting it.
    async fn end(mut self) {
        assert!(!self.receive().await, "{:?}", String::from_utf8_lossy(&self.received));
    }
}

/// Counts the answers that are in memory.
#[derive(Clone, Default)]
struct Memory(Arc<AtomicUsize>);

struct Held(&'static [u8], Memory);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    fn answers(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn answer(&self, bytes: &'static [u8]) -> Bytes {
        self.0.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Held(bytes, self.clone()))
    }
}

/// More than the buffers of the operating system take.
const LARGE: usize = 32 * 1024 * 1024;
static LARGE_ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b' '; LARGE]);

#[allow(clippy::unused_async, reason = "axum calls async functions")]
async fn ok() -> impl IntoResponse {
    (StatusCode::OK, "ok")
}
