//! A keep-alive HTTP/1.1 connection without a pool or extra tasks: the load generator shares the machine with
//! the server that it measures.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::TcpStream;

use crate::commands::Failure;

/// The longest time that rows may be behind before a benchmark fails.
const AVAILABLE_WITHIN: Duration = Duration::from_secs(30);
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(5);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The address of a server, and the `Authorization` header for it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Lives as long as the process, so that an endpoint is cheap to copy.
    pub authorization: Option<&'static HeaderValue>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, authorization: None }
    }
}

/// One connection to a server, with one request at a time.
pub struct Connection {
    host: HeaderValue,
    authorization: Option<&'static HeaderValue>,
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<TcpStream>, Full<Bytes>>,
}

/// The answer to a request.
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Connection {
    pub async fn open(endpoint: impl Into<Endpoint>) -> Result<Self, Failure> {
        let Endpoint { address, authorization } = endpoint.into();
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| Failure::new(format!("http://{address} cannot be reached: {error}")))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let host = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
        Ok(Self { host, authorization, sender, connection })
    }

    /// Opens `count` connections to the same server.
    pub async fn open_many(endpoint: Endpoint, count: usize) -> Result<Vec<Self>, Failure> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Self::open(endpoint).await?);
        }
        Ok(connections)
    }

    /// Posts JSON under an idempotency key. Returns the answer, also if it is an error status.
    pub async fn post(&mut self, path: &str, key: String, json: Bytes) -> Result<HttpAnswer, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, self.host.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(IDEMPOTENCY_KEY, HeaderValue::try_from(key)?)
            .body(Full::new(json))?;
        self.exchange(request).await
    }

    /// Fails unless the answer is 200.
    pub async fn get(&mut self, path: &str) -> Result<HttpAnswer, Failure> {
        self.ask(path).await?.expect(StatusCode::OK, path)
    }

    /// Asks again while the answer is 503, for at most [`AVAILABLE_WITHIN`]: rows that are behind are not there yet.
    pub async fn get_once_available(&mut self, path: &str) -> Result<HttpAnswer, Failure> {
        let give_up = Instant::now() + AVAILABLE_WITHIN;
        loop {
            let answer = self.ask(path).await?;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE || Instant::now() >= give_up {
                return answer.expect(StatusCode::OK, path);
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
    }

    async fn ask(&mut self, path: &str) -> Result<HttpAnswer, Failure> {
        let request =
            Request::builder().uri(path).header(header::HOST, self.host.clone()).body(Full::default())?;
        self.exchange(request).await
    }

    pub async fn get_json<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        Ok(serde_json::from_slice(&self.get(path).await?.body)?)
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<HttpAnswer, Failure> {
        let Self { sender, connection, host, authorization } = self;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let exchange = async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(HttpAnswer { status: head.status, headers: head.headers, body })
        };
        let closed = |why: String| {
            Failure::new(format!(
                "the connection to {} was closed: {why}",
                String::from_utf8_lossy(host.as_bytes())
            ))
        };
        // Drives the connection here: a task of its own would cost a task switch for each request.
        tokio::select! {
            biased;
            answer = exchange => answer.map_err(|error| closed(error.to_string())),
            ended = connection => {
                Err(closed(ended.err().map_or_else(|| "by the server".to_owned(), |error| error.to_string())))
            }
        }
    }
}

impl HttpAnswer {
    /// Fails unless the answer has this status.
    pub fn expect(self, status: StatusCode, path: &str) -> Result<Self, Failure> {
        if self.status == status {
            return Ok(self);
        }
        let body = String::from_utf8_lossy(&self.body);
        Err(Failure::new(format!("{path} was answered {} instead of {status}: {body}", self.status)))
    }

    /// The code of a problem; empty if the body is none.
    pub fn problem_code(&self) -> String {
        #[derive(Deserialize)]
        struct Coded {
            code: String,
        }
        serde_json::from_slice(&self.body).map(|Coded { code }| code).unwrap_or_default()
    }

    /// The text of a header; empty if it is missing.
    pub fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
