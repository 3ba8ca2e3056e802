//! A client of the APIs that repeats requests. Every command carries an idempotency key, so a repeat is safe.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use domain::{OrderId, Revision};
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, IF_MATCH},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::{CallerSettings, ClientUrl};

/// Repeats span about 30 s, longer than a restart of the platform.
const REPEATS_MAX: usize = 20;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct CommandClient {
    http: reqwest::Client,
    base_url: String,
}

/// The answer to an accepted command.
#[derive(Debug)]
pub struct Answer<T> {
    pub body: T,
    /// An earlier request with the same key executed the command.
    pub replayed: bool,
}

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the command API at {base_url} does not answer: {reason}")]
    Unreachable { base_url: String, reason: String },
}

/// A refusal that a repeat does not change.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    pub code: String,
    pub detail: String,
    /// The order that the refusal is about.
    pub order_id: Option<OrderId>,
}

impl Refusal {
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into(), order_id: None }
    }
}

/// What the platform knows of an idempotency key.
#[derive(Debug)]
pub enum Known<T> {
    New,
    /// An earlier request with this body has recorded the command. Its answer.
    Same(T),
    /// An earlier request with another body has recorded a command, perhaps that of an order.
    Other(Option<OrderId>),
}

/// A failed attempt.
enum Attempt {
    Final(Refusal),
    Repeat(String),
}

/// The members of a problem answer that go into the report.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<FieldError>,
    order_id: Option<OrderId>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    field: String,
    message: String,
}

impl CommandClient {
    pub fn new(base_url: &ClientUrl, caller: &CallerSettings, connections: usize) -> Result<Self, PostError> {
        let base_url = base_url.as_str().to_owned();
        let credential = caller.api_key.as_ref().map(|key| (AUTHORIZATION, key.header()));
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .default_headers(credential.into_iter().collect())
            .pool_max_idle_per_host(connections);
        let is_encrypted = base_url.starts_with("https:");
        // Plain HTTP needs no certificates; without this the builder loads those of the machine.
        let http = if is_encrypted { http } else { http.tls_certs_only([]) };
        let http = http.build().map_err(|error| unreachable(&base_url, &error))?;
        Ok(Self { http, base_url })
    }

    /// Sends one request without repeats, so a wrong address fails at once.
    pub async fn check(&self) -> Result<(), PostError> {
        let answer = self.http.get(format!("{}/livez", self.base_url)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| unreachable(&self.base_url, &error))
    }

    /// Sends a command and repeats it until the answer is final.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, PostError> {
        self.repeat(|| self.attempt(path, key, body, None), |_| true).await
    }

    /// Like [`CommandClient::post`], for a command that is executed only at this revision of its resource.
    pub async fn post_at<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
        revision: Revision,
    ) -> Result<Answer<T>, PostError> {
        let etag = format!("\"{revision}\"");
        self.repeat(|| self.attempt(path, key, body, Some(&etag)), |_| true).await
    }

    /// Like [`CommandClient::post`], but also repeats while the answer is `not_found`: the platform may
    /// create the target only after it has answered an earlier command.
    pub async fn post_when_found<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, PostError> {
        let is_final = |refusal: &Refusal| refusal.code != "not_found";
        self.repeat(|| self.attempt(path, key, body, None), is_final).await
    }

    /// Looks for the command of a key, and executes nothing. The platform compares the key before it compares
    /// the revision, and no resource has the revision that this request asks for.
    pub async fn look_up<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<Known<T>, PostError> {
        match self.post_at(path, key, body, Revision::MAX).await {
            Ok(answer) => Ok(Known::Same(answer.body)),
            Err(PostError::Refused(refusal)) => match refusal.code.as_str() {
                "precondition_failed" => Ok(Known::New),
                "idempotency_key_reused" => Ok(Known::Other(refusal.order_id)),
                _ => Err(refusal.into()),
            },
            Err(unreachable @ PostError::Unreachable { .. }) => Err(unreachable),
        }
    }

    /// Reads a resource, here of the query API.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, PostError> {
        let get = || async {
            let request = self.http.get(format!("{}{path}", self.base_url));
            answer_of(request.send().await, path).await.map(|answer| answer.body)
        };
        self.repeat(get, |_| true).await
    }

    async fn repeat<T, F: Future<Output = Result<T, Attempt>>>(
        &self,
        attempt: impl FnMut() -> F,
        is_final: impl Fn(&Refusal) -> bool,
    ) -> Result<T, PostError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_max_times(REPEATS_MAX)
            .with_jitter();
        let is_temporary = |failed: &Attempt| match failed {
            Attempt::Final(refusal) => !is_final(refusal),
            Attempt::Repeat(_) => true,
        };
        let outcome = attempt.retry(pauses).when(is_temporary).await;
        outcome.map_err(|failed| match failed {
            Attempt::Final(refusal) => refusal.into(),
            Attempt::Repeat(reason) => PostError::Unreachable { base_url: self.base_url.clone(), reason },
        })
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
        if_match: Option<&str>,
    ) -> Result<Answer<T>, Attempt> {
        let url = format!("{}{path}", self.base_url);
        let request = self.http.post(url).header("idempotency-key", key).json(body);
        let request = match if_match {
            None => request,
            Some(etag) => request.header(IF_MATCH, etag),
        };
        answer_of(request.send().await, path).await
    }
}

async fn answer_of<T: DeserializeOwned>(
    response: reqwest::Result<reqwest::Response>,
    path: &str,
) -> Result<Answer<T>, Attempt> {
    let response = response.map_err(|error| Attempt::Repeat(describe(&error)))?;
    let status = response.status();
    let replayed = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
    let bytes = response.bytes().await.map_err(|error| Attempt::Repeat(describe(&error)))?;
    if status.is_success() {
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            let detail = format!("the answer of {path} has an unexpected form: {error}");
            Attempt::Final(Refusal::new(status.to_string(), detail))
        })?;
        return Ok(Answer { body, replayed });
    }
    let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
    Err(problem.into_attempt(status))
}

impl Problem {
    fn into_attempt(self, status: StatusCode) -> Attempt {
        let is_temporary = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
            // Too many concurrent commands to one stream; this one recorded nothing.
            || self.code.as_deref() == Some("conflict");
        let code = self.code.unwrap_or_else(|| status.to_string());
        let texts = [self.title, self.detail].into_iter().flatten();
        let errors = self.errors.into_iter().map(|error| format!("{} {}", error.field, error.message));
        let detail = texts.chain(errors).collect::<Vec<_>>().join("; ");
        if is_temporary {
            Attempt::Repeat(format!("{code}: {detail}"))
        } else {
            Attempt::Final(Refusal { code, detail, order_id: self.order_id })
        }
    }
}

fn unreachable(base_url: &str, error: &reqwest::Error) -> PostError {
    PostError::Unreachable { base_url: base_url.to_owned(), reason: describe(error) }
}

/// The innermost cause, for example `connection refused` instead of `error sending request`.
fn describe(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
