//! The client of the command API, to which the pages forward actions.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Client;
use serde_json::Value;

use super::session::Session;

/// More than any answer has that the pages read: a page of deliveries.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Longer than the command API takes for the slowest command.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Where the command API is.
#[derive(Debug, Clone)]
pub struct CommandApiAccess {
    /// Such as `http://127.0.0.1:8080`.
    pub url: String,
}

/// Sends requests in the name of the caller of a page.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    url: String,
    client: Client,
}

/// An answer of the command API, also a refusal.
#[derive(Debug)]
pub(super) struct CommandAnswer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl CommandAnswer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The command API has not answered. A command may have been carried out or not.
#[derive(Debug, thiserror::Error)]
#[error("the command API has not answered: {0}")]
pub(super) struct NoAnswer(String);

impl Commands {
    pub fn new(access: CommandApiAccess) -> Self {
        let client = Client::builder().connect_timeout(CONNECT_MAX).timeout(ANSWER_MAX).no_proxy();
        let client = client.redirect(reqwest::redirect::Policy::none());
        Self { url: access.url, client: client.build().unwrap_or_default() }
    }

    /// Sends a command under an idempotency key.
    pub async fn send(
        &self,
        path: &str,
        caller: &CallerHeaders,
        key: &str,
        body: &Value,
    ) -> Result<CommandAnswer, NoAnswer> {
        let mut headers = caller.0.clone();
        let key = HeaderValue::from_str(key).map_err(|error| NoAnswer(error.to_string()))?;
        headers.insert("idempotency-key", key);
        self.request(Method::POST, path, headers, Some(body)).await
    }

    pub async fn get(&self, path: &str, caller: &CallerHeaders) -> Result<CommandAnswer, NoAnswer> {
        self.request(Method::GET, path, caller.0.clone(), None).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<&Value>,
    ) -> Result<CommandAnswer, NoAnswer> {
        let describe = |error: reqwest::Error| NoAnswer(error.without_url().to_string());
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let request = self.client.request(method, url).headers(headers);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(NoAnswer("the answer is too large".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(CommandAnswer { status, body })
    }
}

/// The headers that name a caller, and the person behind it.
#[derive(Debug, Clone)]
pub(super) struct CallerHeaders(HeaderMap);

impl CallerHeaders {
    /// Those of a request to a page.
    pub fn of(request: &http::request::Parts) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(credential) = request.headers.get(header::AUTHORIZATION) {
            headers.insert(header::AUTHORIZATION, credential.clone());
        }
        let person = request.extensions.get::<Session>().and_then(|session| session.person.as_deref());
        if let Some(Ok(person)) = person.map(|person| HeaderValue::from_bytes(person.as_bytes())) {
            headers.insert("orderly-actor", person);
        }
        Self(headers)
    }
}
