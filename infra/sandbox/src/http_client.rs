//! Plain HTTP/1.1 with a time limit, for the requests of the adapter and the notices of the sandbox.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An HTTP client. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    time_max: Duration,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    /// The request was not sent.
    #[error("cannot connect: {0}")]
    NotConnected(String),
    /// The request may have been sent in full or in part.
    #[error("{0}")]
    Lost(String),
}

impl HttpClient {
    /// `time_max` limits connecting, the request and its answer together.
    pub fn new(time_max: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX.min(time_max)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .build(connector);
        Self { client, time_max }
    }

    /// Sends a request. Returns the status and the body of the answer, at most 4 MiB.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), RequestFailure> {
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| {
                let text = described(&error);
                if error.is_connect() {
                    RequestFailure::NotConnected(text)
                } else {
                    RequestFailure::Lost(text)
                }
            })?;
            let status = answer.status();
            let collected = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = collected.map_err(|error| RequestFailure::Lost(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let in_time = time::timeout(self.time_max, exchange).await;
        in_time.unwrap_or_else(|_| Err(RequestFailure::Lost("no answer within the time limit".to_owned())))
    }
}

/// An error with its causes. The outermost error alone does not name the reason.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("time_max", &self.time_max).finish_non_exhaustive()
    }
}
