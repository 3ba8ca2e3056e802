//! Sends one request to a receiver.

use std::{error::Error as _, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::TraceParent;
use http::{StatusCode, header};
use infra::{operations::webhooks::RefusedUrl, sealing::UnreadableSecret, tls, traces::TRACEPARENT};
use reqwest::{Client, Response, redirect};

use crate::url_guard::UrlGuard;

const USER_AGENT: &str = concat!("Orderly-Webhooks/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Only the status of an answer counts. Its body is read, up to this size, so that the connection can be
/// reused.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Sends requests to addresses that the guard permits.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: Client,
    guard: UrlGuard,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub url: &'a str,
    pub id: String,
    /// Seconds since 1970.
    pub sent_at: i64,
    pub signature: String,
    /// The span of the attempt. Not signed: it changes with each attempt.
    pub trace: Option<TraceParent>,
    pub body: Vec<u8>,
}

/// Why there is no answer. The owner of the subscription reads these texts in the delivery log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the URL is refused: {0}")]
    Refused(#[from] RefusedUrl),
    #[error("no answer within the time limit")]
    TimedOut,
    #[error("cannot connect")]
    NotConnected,
    #[error("the connection broke before an answer arrived")]
    ConnectionLost,
    #[error("not sent: {0}")]
    NoSecret(UnreadableSecret),
}

/// The HTTP client cannot be set up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the HTTP client of webhooks cannot be set up: {0}")]
pub struct SenderSetUpError(Arc<str>);

impl Sender {
    /// `time_max` limits a request and its answer together.
    pub fn new(guard: UrlGuard, time_max: Duration) -> Result<Self, SenderSetUpError> {
        let describe = |error: &dyn std::fmt::Display| SenderSetUpError(error.to_string().into());
        let tls = tls::client_config(tls::roots_of_this_machine()).map_err(|error| describe(&error))?;
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // A proxy or a redirect would bypass the guard.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(guard.clone())
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIME_MAX.min(time_max))
            .timeout(time_max)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| describe(&error))?;
        Ok(Self { client, guard })
    }

    /// Returns the status of the answer.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<StatusCode, SendError> {
        let url = self.guard.parse(outgoing.url)?;
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", outgoing.id)
            .header("webhook-timestamp", outgoing.sent_at)
            .header("webhook-signature", outgoing.signature);
        let request = match outgoing.trace {
            Some(trace) => request.header(TRACEPARENT, trace.to_string()),
            None => request,
        };
        let request = request.body(Bytes::from(outgoing.body));
        let answer = request.send().await.map_err(|error| classify(&error))?;
        let status = answer.status();
        drain(answer).await;
        Ok(status)
    }
}

/// Reads the body. Ignores errors: the status has arrived, so a slow, long or broken body must not cause a
/// retry.
async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > ANSWER_BYTES_MAX {
            break;
        }
    }
}

fn classify(error: &reqwest::Error) -> SendError {
    let mut cause = error.source();
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<RefusedUrl>() {
            return SendError::Refused(*refused);
        }
        cause = one.source();
    }
    if error.is_timeout() {
        SendError::TimedOut
    } else if error.is_connect() {
        SendError::NotConnected
    } else {
        SendError::ConnectionLost
    }
}
