//! Requests to Stripe, and what an answer means. One request each, never repeated in here.

use std::{fmt, time::Duration};

use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response, Url, redirect, retry};
use serde::de::DeserializeOwned;

use super::{
    API_VERSION, OptionsError, StripeOptions,
    object::{ErrorBody, ErrorObject, Intent, Page, Refund},
    options::Secret,
    report::presentable,
};
use crate::payment_provider::ProviderError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A page of a hundred refunds takes about 100 KiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Members of a request, by name; Stripe writes nested ones as `outer[inner]`.
pub(super) type Form = Vec<(&'static str, String)>;

/// Asks that an intent comes with its latest attempt in full.
const WITH_ATTEMPT: (&str, &str) = ("expand[]", "latest_charge");
/// Of a list or of a search: as many as one page may hold.
const PAGE: (&str, &str) = ("limit", "100");

/// Stripe's API, as the account of the secret key.
pub(super) struct Api {
    http: Client,
    base: Url,
    secret_key: Secret,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// What Stripe says to a request that it takes.
pub(super) struct Answer<T> {
    pub object: T,
    /// It is what Stripe said when it was first asked under this idempotency key. Things may have moved on since.
    pub is_replay: bool,
}

/// Why a request was not done, or may not have been.
#[derive(Clone)]
pub(super) enum Failure {
    /// Stripe looked at it and did not do it.
    Refused(ErrorObject),
    /// Stripe repeats, for as long as it knows the idempotency key, that it failed in the middle of that first request.
    Kept {
        status: StatusCode,
        first_request: String,
    },
    Unanswered(ProviderError),
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Refused(in_words(&error)),
            Failure::Kept { status, .. } => Self::OutcomeUnknown(format!("Stripe answered {status}")),
            Failure::Unanswered(error) => error,
        }
    }
}

type Answered<T> = Result<Answer<T>, Failure>;

impl Api {
    pub(super) fn new(options: &StripeOptions) -> Result<Self, OptionsError> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(|error| OptionsError::Client(describe(error)))?;
        Ok(Self { http, base: options.api_url.clone(), secret_key: options.secret_key.clone() })
    }

    pub(super) async fn create_intent(&self, mut form: Form, key: &str) -> Answered<Intent> {
        form.push((WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned()));
        self.post(&["payment_intents"], &form, Some(key)).await
    }

    pub(super) async fn retrieve_intent(&self, id: &str) -> Result<Intent, Failure> {
        self.get(&["payment_intents", id], &[WITH_ATTEMPT]).await
    }

    pub(super) async fn search_intents(&self, query: &str) -> Result<Page<Intent>, Failure> {
        self.get(&["payment_intents", "search"], &[("query", query), PAGE]).await
    }

    pub(super) async fn confirm_intent(&self, id: &str, key: &str) -> Answered<Intent> {
        let form = vec![(WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        self.post(&["payment_intents", id, "confirm"], &form, Some(key)).await
    }

    /// `is_last`: what is left is given back.
    pub(super) async fn capture_intent(
        &self,
        id: &str,
        amount: i64,
        is_last: bool,
        key: &str,
    ) -> Answered<Intent> {
        let mut form =
            vec![("amount_to_capture", amount.to_string()), (WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        // Said only where it is needed: Stripe refuses it of an intent that is captured once.
        if !is_last {
            form.push(("final_capture", "false".to_owned()));
        }
        self.post(&["payment_intents", id, "capture"], &form, Some(key)).await
    }

    /// Without a key: an intent is cancelled once by its nature, and the answer shall be of now.
    pub(super) async fn cancel_intent(&self, id: &str, reason: &str) -> Result<Intent, Failure> {
        let form =
            vec![("cancellation_reason", reason.to_owned()), (WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        let answer = self.post(&["payment_intents", id, "cancel"], &form, None).await?;
        Ok(answer.object)
    }

    pub(super) async fn create_refund(&self, form: Form, key: &str) -> Answered<Refund> {
        self.post(&["refunds"], &form, Some(key)).await
    }

    pub(super) async fn retrieve_refund(&self, id: &str) -> Result<Refund, Failure> {
        self.get(&["refunds", id], &[]).await
    }

    /// The refunds of an intent, newest first, that are older than the refund `after`.
    pub(super) async fn list_refunds(
        &self,
        intent: &str,
        after: Option<&str>,
    ) -> Result<Page<Refund>, Failure> {
        let mut query = vec![("payment_intent", intent), PAGE];
        query.extend(after.map(|after| ("starting_after", after)));
        self.get(&["refunds"], &query).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Failure> {
        let answer = self.send(self.http.get(self.url(path)?).query(query)).await?;
        Ok(answer.object)
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], form: &Form, key: Option<&str>) -> Answered<T> {
        let request = self.http.post(self.url(path)?).form(form);
        self.send(match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
        .await
    }

    /// Each part of the path is escaped: ids come from outside.
    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let unusable =
            || Failure::Unanswered(ProviderError::Unreachable("the URL of Stripe's API".to_owned()));
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Answered<T> {
        let request = request.bearer_auth(self.secret_key.reveal()).header("stripe-version", API_VERSION);
        let response = request.send().await.map_err(|error| Failure::Unanswered(not_answered(error)))?;
        let status = response.status();
        let first_request = first_request(&response);
        let body = read(response).await.map_err(Failure::Unanswered)?;
        if status.is_success() {
            let object = serde_json::from_slice(&body).map_err(|error| unknown(&error.to_string()))?;
            return Ok(Answer { object, is_replay: first_request.is_some() });
        }
        let error = serde_json::from_slice(&body).ok().map(|ErrorBody { error }| error);
        Err(failure(status, error, first_request))
    }
}

/// The request that this is the kept answer of; none for an answer of now.
fn first_request(response: &Response) -> Option<String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_replay = header("idempotent-replayed").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    is_replay.then(|| header("original-request").unwrap_or("unnamed").chars().take(100).collect())
}

fn failure(status: StatusCode, error: Option<ErrorObject>, first_request: Option<String>) -> Failure {
    let why = error.as_ref().map_or_else(String::new, |error| format!(" ({})", in_words(error)));
    match (status.as_u16(), error, first_request) {
        // The words of these two may show a part of the key.
        (401 | 403, _, _) => {
            Failure::Unanswered(ProviderError::Credentials(format!("Stripe answered {status}")))
        }
        // Too many requests, or another one holds the object at this moment.
        (429, _, _) => {
            Failure::Unanswered(ProviderError::Unreachable(format!("Stripe answered {status}{why}")))
        }
        // The key is in use at this moment, or was used for a request that differs from this one: by an earlier version
        // of this program, say. Either way that other request counts, and this one does not know what became of it.
        (409, _, _) => unknown(&format!("{status}{why}")),
        (_, Some(error), _) if error.kind == "idempotency_error" => unknown(&in_words(&error)),
        (400..=499, Some(error), _) => Failure::Refused(error),
        (500..=599, _, Some(first_request)) => Failure::Kept { status, first_request },
        (_, _, _) => unknown(&format!("{status}{why}")),
    }
}

fn unknown(answer: &str) -> Failure {
    Failure::Unanswered(ProviderError::OutcomeUnknown(format!(
        "Stripe's answer says nothing certain: {answer}"
    )))
}

fn in_words(error: &ErrorObject) -> String {
    let code = error.decline_code.as_ref().or(error.code.as_ref()).unwrap_or(&error.kind);
    presentable(&error.message.as_ref().map_or_else(|| code.clone(), |message| format!("{code}: {message}")))
}

/// Where no connection was made, nothing was sent.
fn not_answered(error: reqwest::Error) -> ProviderError {
    let is_unsent = error.is_connect() || error.is_builder();
    let why = describe(error);
    if is_unsent { ProviderError::Unreachable(why) } else { ProviderError::OutcomeUnknown(why) }
}

/// With its causes, and without the URL, which may hold a client secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}

async fn read(mut response: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| ProviderError::OutcomeUnknown(describe(error)))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ProviderError::OutcomeUnknown(format!(
                "an answer of more than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
