//! Sends requests to Stripe and classifies the answers. Each function sends one request and never retries.

use std::{fmt, time::Duration};

use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response, Url, redirect, retry};
use serde::de::DeserializeOwned;

use super::{
    API_VERSION, StripeOptions, StripeOptionsError,
    object::{BookedDispute, BookedRefund, Dispute, ErrorBody, ErrorObject, Intent, Refund, StripePage},
    options::StripeSecret,
    report::printable,
};
use crate::{
    http_client::{self, describe},
    payment_provider::{Period, ProviderError},
    traces,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds the memory for an answer. A page of 100 refunds has about 100 KiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Members of a request, by name. Stripe names nested members `outer[inner]`.
pub(super) type Form = Vec<(&'static str, String)>;

/// Makes Stripe include the latest attempt in the answer instead of only its id.
const WITH_ATTEMPT: (&str, &str) = ("expand[]", "latest_charge");
/// The largest page of a list or a search.
const PAGE_LIMIT: (&str, &str) = ("limit", "100");

/// Client of Stripe's API, with the account of the secret key.
pub(super) struct Api {
    http: Client,
    base: Url,
    secret_key: StripeSecret,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Stripe's answer to a request that it accepted.
pub(super) struct Answer<T> {
    pub object: T,
    /// True if Stripe replayed the answer to an earlier request with this idempotency key. The object may
    /// have changed since.
    pub is_replay: bool,
}

/// Why a request failed, or why its outcome is unknown.
#[derive(Clone)]
pub(super) enum RequestFailure {
    /// Stripe processed the request and refused it.
    Refused(ErrorObject),
    /// Stripe replays its own error of an earlier request with this idempotency key, as long as it knows the
    /// key. That request may have taken effect.
    ReplayedError {
        status: StatusCode,
        first_request: String,
    },
    Unanswered(ProviderError),
}

impl From<RequestFailure> for ProviderError {
    fn from(failure: RequestFailure) -> Self {
        match failure {
            RequestFailure::Refused(error) => Self::Refused(describe_error(&error)),
            RequestFailure::ReplayedError { status, .. } => {
                Self::OutcomeUnknown(format!("Stripe answered {status}"))
            }
            RequestFailure::Unanswered(error) => error,
        }
    }
}

type Answered<T> = Result<Answer<T>, RequestFailure>;

impl Api {
    pub(super) fn new(options: &StripeOptions) -> Result<Self, StripeOptionsError> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(|error| StripeOptionsError::Client(describe(error)))?;
        Ok(Self { http, base: options.api_url.clone(), secret_key: options.secret_key.clone() })
    }

    pub(super) async fn create_intent(&self, mut form: Form, key: &str) -> Answered<Intent> {
        form.push((WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned()));
        self.post(&["payment_intents"], &form, Some(key)).await
    }

    pub(super) async fn retrieve_intent(&self, id: &str) -> Result<Intent, RequestFailure> {
        self.get(&["payment_intents", id], &[WITH_ATTEMPT]).await
    }

    pub(super) async fn search_intents(&self, query: &str) -> Result<StripePage<Intent>, RequestFailure> {
        self.get(&["payment_intents", "search"], &[("query", query), PAGE_LIMIT]).await
    }

    pub(super) async fn confirm_intent(&self, id: &str, key: &str) -> Answered<Intent> {
        let form = vec![(WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        self.post(&["payment_intents", id, "confirm"], &form, Some(key)).await
    }

    /// `amount` is in Stripe's units. After the last capture Stripe releases the rest.
    pub(super) async fn capture_intent(
        &self,
        id: &str,
        amount: i64,
        is_last: bool,
        key: &str,
    ) -> Answered<Intent> {
        let mut form =
            vec![("amount_to_capture", amount.to_string()), (WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        // Sent only for a partial capture, because Stripe refuses this member without multicapture.
        if !is_last {
            form.push(("final_capture", "false".to_owned()));
        }
        self.post(&["payment_intents", id, "capture"], &form, Some(key)).await
    }

    /// Sends no idempotency key: a cancellation is idempotent, and the answer must be current.
    pub(super) async fn cancel_intent(&self, id: &str, reason: &str) -> Result<Intent, RequestFailure> {
        let form =
            vec![("cancellation_reason", reason.to_owned()), (WITH_ATTEMPT.0, WITH_ATTEMPT.1.to_owned())];
        let answer = self.post(&["payment_intents", id, "cancel"], &form, None).await?;
        Ok(answer.object)
    }

    pub(super) async fn create_refund(&self, form: Form, key: &str) -> Answered<Refund> {
        self.post(&["refunds"], &form, Some(key)).await
    }

    pub(super) async fn retrieve_refund(&self, id: &str) -> Result<Refund, RequestFailure> {
        self.get(&["refunds", id], &[]).await
    }

    /// The refunds of an intent, newest first, that are older than the refund `after`.
    pub(super) async fn list_refunds(
        &self,
        intent: &str,
        after: Option<&str>,
    ) -> Result<StripePage<Refund>, RequestFailure> {
        let mut query = vec![("payment_intent", intent), PAGE_LIMIT];
        query.extend(after.map(|after| ("starting_after", after)));
        self.get(&["refunds"], &query).await
    }

    /// The disputes of an intent, newest first: at most 100.
    pub(super) async fn list_disputes(&self, intent: &str) -> Result<StripePage<Dispute>, RequestFailure> {
        self.get(&["disputes"], &[("payment_intent", intent), PAGE_LIMIT]).await
    }

    /// The intents that were created in a period, newest first, that are older than the intent `after`.
    pub(super) async fn list_intents_of(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<StripePage<Intent>, RequestFailure> {
        let [from, to] = seconds(period);
        let mut query = vec![("created[gte]", &*from), ("created[lt]", &*to), PAGE_LIMIT];
        query.extend(after.map(|after| ("starting_after", after)));
        self.get(&["payment_intents"], &query).await
    }

    /// The refunds that were created in a period, newest first, each with its intent, that are older than the refund
    /// `after`.
    pub(super) async fn list_refunds_of(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<StripePage<BookedRefund>, RequestFailure> {
        self.list_of("refunds", period, after).await
    }

    /// The disputes that were opened in a period, newest first, each with its intent, that are older than the dispute
    /// `after`.
    pub(super) async fn list_disputes_of(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<StripePage<BookedDispute>, RequestFailure> {
        self.list_of("disputes", period, after).await
    }

    /// Objects that were created in a period, each with its intent.
    async fn list_of<T: DeserializeOwned>(
        &self,
        objects: &str,
        period: Period,
        after: Option<&str>,
    ) -> Result<StripePage<T>, RequestFailure> {
        let [from, to] = seconds(period);
        let mut query = vec![
            ("created[gte]", &*from),
            ("created[lt]", &*to),
            ("expand[]", "data.payment_intent"),
            PAGE_LIMIT,
        ];
        query.extend(after.map(|after| ("starting_after", after)));
        self.get(&[objects], &query).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, RequestFailure> {
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

    /// Escapes each part of the path, because ids come from outside.
    fn url(&self, path: &[&str]) -> Result<Url, RequestFailure> {
        let mut url = self.base.clone();
        let unusable = || {
            RequestFailure::Unanswered(ProviderError::Unreachable(
                "the URL of Stripe's API cannot have a path".to_owned(),
            ))
        };
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Answered<T> {
        let request = request.bearer_auth(self.secret_key.reveal()).header("stripe-version", API_VERSION);
        let request = match traces::current() {
            Some(trace) => request.header(traces::TRACEPARENT, trace.to_string()),
            None => request,
        };
        let response =
            request.send().await.map_err(|error| RequestFailure::Unanswered(not_answered(error)))?;
        let status = response.status();
        let first_request = first_request(&response);
        let body = read(response).await.map_err(RequestFailure::Unanswered)?;
        if status.is_success() {
            let object = serde_json::from_slice(&body).map_err(|error| unknown(&error.to_string()))?;
            return Ok(Answer { object, is_replay: first_request.is_some() });
        }
        let error = serde_json::from_slice(&body).ok().map(|ErrorBody { error }| error);
        Err(failure(status, error, first_request))
    }
}

/// Both ends of a period. Stripe counts in whole seconds.
fn seconds(period: Period) -> [String; 2] {
    [period.from, period.to].map(|instant| instant.as_second().to_string())
}

/// The id of the earlier request whose answer Stripe replays. `None` for a current answer.
fn first_request(response: &Response) -> Option<String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_replay = header("idempotent-replayed").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    is_replay.then(|| header("original-request").unwrap_or("unnamed").chars().take(100).collect())
}

fn failure(status: StatusCode, error: Option<ErrorObject>, first_request: Option<String>) -> RequestFailure {
    let why = error.as_ref().map_or_else(String::new, |error| format!(" ({})", describe_error(error)));
    match (status.as_u16(), error, first_request) {
        // Omits Stripe's message, because it may contain a part of the key.
        (401 | 403, _, _) => {
            RequestFailure::Unanswered(ProviderError::Credentials(format!("Stripe answered {status}")))
        }
        // Too many requests, or another request has locked the object.
        (429, _, _) => {
            RequestFailure::Unanswered(ProviderError::Unreachable(format!("Stripe answered {status}{why}")))
        }
        // Another request uses the idempotency key now, or has used it with other members. An earlier version
        // of this program may have sent it. Its outcome is unknown here.
        (409, _, _) => unknown(&format!("{status}{why}")),
        (_, Some(error), _) if error.kind == "idempotency_error" => unknown(&describe_error(&error)),
        (400..=499, Some(error), _) => RequestFailure::Refused(error),
        (500..=599, _, Some(first_request)) => RequestFailure::ReplayedError { status, first_request },
        (_, _, _) => unknown(&format!("{status}{why}")),
    }
}

fn unknown(answer: &str) -> RequestFailure {
    RequestFailure::Unanswered(ProviderError::OutcomeUnknown(format!(
        "Stripe's answer leaves the outcome open: {answer}"
    )))
}

fn describe_error(error: &ErrorObject) -> String {
    let code = error.decline_code.as_ref().or(error.code.as_ref()).unwrap_or(&error.kind);
    printable(&error.message.as_ref().map_or_else(|| code.clone(), |message| format!("{code}: {message}")))
}

/// Maps an error without an answer. Without a connection nothing was sent, so nothing was done.
fn not_answered(error: reqwest::Error) -> ProviderError {
    let is_unsent = error.is_connect() || error.is_builder();
    let why = describe(error);
    if is_unsent { ProviderError::Unreachable(why) } else { ProviderError::OutcomeUnknown(why) }
}

async fn read(response: Response) -> Result<Vec<u8>, ProviderError> {
    let body = http_client::read(response, ANSWER_BYTES_MAX).await;
    body.map_err(|why| ProviderError::OutcomeUnknown(format!("Stripe's answer cannot be read: {why}")))
}
