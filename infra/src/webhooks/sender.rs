//! One request to a receiver.

use std::{error::Error as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header};
use reqwest::{Client, Response, redirect};
use rustls::{ClientConfig, crypto::aws_lc_rs};

use super::guard::{Guard, RefusedUrl};

const USER_AGENT: &str = concat!("Orderly-Webhooks/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Of an answer nothing but its status counts. So much of the rest is read that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Sends requests to where the guard lets them.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Client,
    guard: Guard,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub url: &'a str,
    pub id: String,
    /// Seconds since 1970.
    pub sent_at: i64,
    pub signature: String,
    pub body: Vec<u8>,
}

/// Why a receiver has not taken a delivery. The texts are shown to whoever made the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    #[error("nothing is sent there: {0}")]
    Refused(#[from] RefusedUrl),
    #[error("no answer in time")]
    TimedOut,
    #[error("no connection could be made")]
    NotConnected,
    #[error("the connection broke off before there was an answer")]
    BrokenOff,
}

/// The client cannot be set up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("webhooks cannot be sent: {0}")]
pub struct SetUpError(Arc<str>);

impl Sender {
    /// `time_max`: for a whole request and its answer.
    pub fn new(guard: Guard, time_max: Duration) -> Result<Self, SetUpError> {
        let describe = |error: &dyn std::fmt::Display| SetUpError(error.to_string().into());
        let roots = crate::postgres::tls::roots_of_the_machine();
        // Named, because more than one is built in.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| describe(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // Either would lead past the guard.
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

    /// The status of the answer.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<StatusCode, SendError> {
        let url = self.guard.parse(outgoing.url)?;
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", outgoing.id)
            .header("webhook-timestamp", outgoing.sent_at)
            .header("webhook-signature", outgoing.signature)
            .body(Bytes::from(outgoing.body));
        let answer = request.send().await.map_err(|error| classify(&error))?;
        let status = answer.status();
        drain(answer).await;
        Ok(status)
    }
}

/// A receiver that has answered is not asked again because the rest of its answer is slow, long or broken.
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
        SendError::BrokenOff
    }
}
