//! The tokens that a client shows to the brokers (SASL OAUTHBEARER).

use std::{error::Error, ffi::CString, fmt, ptr};

use domain::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::{
    ClientContext,
    bindings::rd_kafka_oauthbearer_set_token,
    client::{Client, OAuthToken},
    consumer::ConsumerContext,
    error::{KafkaError as ClientError, KafkaResult},
    types::RDKafkaRespErr,
};
use reqwest::{Url, redirect};
use serde::Deserialize;

use super::{KafkaConfig, KafkaError, REQUEST_TIME_MAX};
use crate::http_client::{self, describe};

/// Bounds the memory for an answer. Tokens have about 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A token counts as expired at the latest after this time, one day.
const LIFE_S_MAX: i64 = 24 * 60 * 60;
/// What needs no encoding in a client id and a secret (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where an issuer gives tokens to a client that shows its id and secret: the client credentials grant of OAuth 2
/// (RFC 6749, section 4.4). `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenEndpoint {
    pub url: Url,
    pub scope: Option<String>,
    pub client_id: String,
    pub client_secret: String,
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &self.url.as_str())
            .field("scope", &self.scope)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The answer of an issuer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds.
    expires_in: i64,
}

/// The answer of an issuer that gives no token.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl TokenEndpoint {
    /// Requests a token.
    async fn token(&self) -> Result<OAuthToken, String> {
        // A client of its own, because the runtime may end with this request. There are few: a token lives for minutes.
        let client = reqwest::Client::builder().timeout(REQUEST_TIME_MAX).redirect(redirect::Policy::none());
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let scope = self.scope.iter().map(|scope| ("scope", scope.as_str()));
        let form: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(scope).collect();
        let request = client.build().map_err(describe)?.post(self.url.clone());
        let request = request.basic_auth(encoded(&self.client_id), Some(encoded(&self.client_secret)));
        let began_at = Timestamp::now();
        let answer = request.form(&form).send().await.map_err(describe)?;
        let status = answer.status();
        let body = http_client::read(answer, ANSWER_BYTES_MAX).await?;
        if !status.is_success() {
            let code = serde_json::from_slice(&body).ok().map(|Refused { error }| error);
            // Codes of RFC 6749, section 5.2, are short and without spaces. Another text may repeat the request.
            let code =
                code.filter(|code| code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_graphic()));
            return Err(code.map_or_else(
                || format!("it answered {status}"),
                |code| format!("it answered {status} ({code})"),
            ));
        }
        // Does not show the body, which may contain a token.
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| "the answer has no access_token, or no expires_in in seconds".to_owned())?;
        self.checked(granted, began_at)
    }

    fn checked(&self, granted: Granted, began_at: Timestamp) -> Result<OAuthToken, String> {
        let Granted { access_token: token, expires_in } = granted;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token is empty, or has characters that no token has".to_owned());
        }
        if expires_in < 1 {
            return Err("the token has expired".to_owned());
        }
        let lifetime_ms = began_at.as_millisecond() + expires_in.min(LIFE_S_MAX) * 1_000;
        Ok(OAuthToken { token, principal_name: self.client_id.clone(), lifetime_ms })
    }
}

/// Gets the tokens of a client, if its brokers want any. The client library asks in a poll: in the first one, after 80%
/// of the life of a token, and 10 s after a failure.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(Option<TokenEndpoint>);

impl Tokens {
    pub fn of(config: &KafkaConfig) -> Self {
        Self(config.security().token_endpoint().cloned())
    }
}

impl ClientContext for Tokens {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Blocks for at most 10 s. Fails on a thread of an async runtime.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let endpoint = self.0.as_ref().ok_or("the URL of Kafka has no token_url")?;
        // A runtime of its own, because the thread may outlive that of the program.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(endpoint.token());
        outcome.map_err(|error| {
            tracing::warn!(kafka.token_url = %endpoint.url, %error, "Cannot get a token for Kafka; retrying in 10 s");
            error.into()
        })
    }
}

impl ConsumerContext for Tokens {}

/// Gives a token to a client that is never polled, and so never asks for one. The client can be used until the token
/// expires.
pub(super) async fn give<C: ClientContext>(
    config: &KafkaConfig,
    client: &Client<C>,
) -> Result<(), KafkaError> {
    let Some(endpoint) = config.security().token_endpoint() else { return Ok(()) };
    let token = endpoint
        .token()
        .await
        .map_err(|reason| KafkaError::NoToken { url: endpoint.url.to_string(), reason: reason.into() })?;
    set(client, token)?;
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "the crate has no safe way to set the token of a client that it does not poll"
)]
fn set<C: ClientContext>(client: &Client<C>, token: OAuthToken) -> KafkaResult<()> {
    let (value, principal) = (CString::new(token.token)?, CString::new(token.principal_name)?);
    // SAFETY: `client` keeps the native client alive during the call, and the library is thread-safe. The library
    // copies both texts, which end with a zero. It reads no extensions and writes no error text, because both have the
    // length zero.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            0,
        )
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(ClientError::Global(code.into())),
    }
}

#[cfg(test)]
mod tests;
