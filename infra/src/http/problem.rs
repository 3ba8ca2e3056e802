//! Errors as RFC 9457 problem details with a stable `code`.

use axum::{
    Json, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

macro_rules! codes {
    ($($variant:ident $code:literal $status:ident $title:literal $help:literal;)*) => {
        /// Every code that an Orderly API answers with. Codes are stable: clients branch on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $(#[doc = $help] $variant,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What the caller can do about it.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

codes! {
    MalformedJson "malformed_json" BAD_REQUEST "The body is not JSON" "Send one JSON value, in UTF-8.";
    InvalidRequest "invalid_request" UNPROCESSABLE_ENTITY "The request is not valid" "`errors` says which member is wrong and why.";
    InvalidParameter "invalid_parameter" BAD_REQUEST "A parameter is not valid" "`errors` says which part of the URL or which header is wrong and why.";
    InvalidCursor "invalid_cursor" BAD_REQUEST "The cursor is not valid" "Pass `next_cursor` of the page before, unchanged and with the same filters, or start without a cursor.";
    IdempotencyKeyMissing "idempotency_key_missing" BAD_REQUEST "The Idempotency-Key header is missing" "Send an Idempotency-Key of 1 to 255 visible characters, and the same one on every retry.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request" "Use a new key for a new request; a retry repeats the body unchanged.";
    Unauthorized "unauthorized" UNAUTHORIZED "Nobody is known by these credentials" "Send `Authorization: Bearer` and the secret.";
    NotFound "not_found" NOT_FOUND "There is no such resource" "Check the id and the path.";
    UnknownCharge "unknown_charge" NOT_FOUND "There is no such charge, or no such refund of it" "Nothing was taken.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The resource does not support this method" "The `Allow` header lists what it supports.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body is not declared as JSON" "Send `Content-Type: application/json`.";
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE "The body is too large" "`detail` states the limit.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request did not arrive in time" "Send the whole request without pausing.";
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "The resource has changed" "Read it again: `If-Match` names a revision that is not the current one.";
    Conflict "conflict" CONFLICT "The stream changed under the command again and again" "Send the request again, with the same key: what was recorded of it is not repeated.";
    InsufficientStock "insufficient_stock" CONFLICT "Not enough stock" "`shortages` lists what is short. The order is recorded as rejected: order again under a new key.";
    StockBelowReserved "stock_below_reserved" CONFLICT "The adjustment would go below what is reserved" "Cancel orders first, or adjust by less.";
    StockLimit "stock_limit" CONFLICT "A SKU cannot have that many units" "A SKU has at most 1,000,000,000 units on hand.";
    OrderStatus "order_status" CONFLICT "The order's status does not allow this" "`detail` names the status.";
    OrderNotPaid "order_not_paid" CONFLICT "The order is not paid" "Capture the payment first.";
    NothingToShip "nothing_to_ship" CONFLICT "Nothing is left to ship" "All units are shipped or cancelled.";
    NothingToCancel "nothing_to_cancel" CONFLICT "Nothing is left to cancel" "Everything is shipped: use a return.";
    QuantityUnavailable "quantity_unavailable" CONFLICT "The line does not have that many units left" "`detail` says how many can be shipped or returned.";
    RefundTooLarge "refund_too_large" CONFLICT "The refund is larger than what can be refunded" "`detail` says how much can be refunded.";
    PaymentNotDue "payment_not_due" CONFLICT "The payment is not due yet" "An order expires only after its due date.";
    PaymentState "payment_state" CONFLICT "The payment's status does not allow this" "`detail` names the status.";
    PaymentClosed "payment_closed" CONFLICT "The order of this payment has ended" "Nothing more is authorized or captured.";
    ChargeUnderWay "charge_under_way" CONFLICT "The provider has a charge of this payment under way" "Wait for its outcome, which the provider reports; only a lost answer may be made up for by hand.";
    AmountTooLarge "amount_too_large" CONFLICT "The amount is larger than allowed" "`detail` says how much is left to authorize, capture or refund.";
    TermsDiffer "terms_differ" CONFLICT "It was asked for with other terms before" "The same charge or refund is asked for with the same terms; another one has another number or id.";
    RefundSettled "refund_settled" CONFLICT "The refund is settled otherwise already" "Read the payment to see its outcome.";
    TooManyParts "too_many_parts" CONFLICT "There are too many shipments, returns, refunds or charges" "`detail` states the limit.";
    WebhookSignature "webhook_signature" UNAUTHORIZED "The signature of the webhook is missing or wrong" "Sign the bytes of the body with the secret that both sides have; the clocks must agree within five minutes.";
    WebhookUrlRefused "webhook_url_refused" UNPROCESSABLE_ENTITY "Webhooks are not sent to this URL" "`errors` says why. Give a URL that begins with https:// and is reached over the public Internet.";
    TooManySubscriptions "too_many_subscriptions" CONFLICT "There are as many subscriptions as there can be" "Delete one that is not needed any more.";
    SubscriptionDeleted "subscription_deleted" CONFLICT "The subscription made under this key was deleted" "Subscribe under a new key.";
    SubscriptionDisabled "subscription_disabled" CONFLICT "The subscription is disabled" "Enable it first; when its receiver has answered 410, see that this one takes webhooks again.";
    ReplayTooLarge "replay_too_large" UNPROCESSABLE_ENTITY "The replay is of too many events" "`detail` states the limit. Replay a shorter span of time.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "Too many requests are under way" "Nothing was recorded; retry after `Retry-After` seconds, with the same key.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "A store cannot be reached or written" "Retry after `Retry-After` seconds, with the same key.";
    OutcomeUnknown "outcome_unknown" SERVICE_UNAVAILABLE "It is not known whether the command was recorded" "Retry with the same key: it is executed at most once.";
    RevisionNotReached "revision_not_reached" SERVICE_UNAVAILABLE "The read model has not reached that revision yet" "Retry after `Retry-After` seconds.";
    ProjectionParked "projection_parked" SERVICE_UNAVAILABLE "The read model cannot take in an event of this stream" "Waiting is no use: an operator has to look at `orderly projections list`.";
    Internal "internal" INTERNAL_SERVER_ERROR "Something went wrong inside" "The log has the details. Retrying with the same key is safe.";
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where: a member (`lines[2].quantity`), a parameter or a header.
    pub field: String,
    pub message: String,
}

/// An error answer. `From` impls of the error types of each API build it; nothing else decides a status.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    detail: Option<String>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The JSON of a [`Problem`] (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// A page that explains the code, relative to the API.
    #[serde(rename = "type")]
    pub type_uri: String,
    pub title: &'static str,
    pub status: u16,
    /// Stable; branch on this.
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members of some codes, such as `shortages`.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl Problem {
    pub fn new(code: Code) -> Self {
        let (errors, members, headers) = (Vec::new(), Map::new(), Vec::new());
        Self { code, detail: None, errors, members, headers }
    }

    /// What is particular to this occurrence. Never the text of an internal error.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
        self
    }

    /// A further member of the body.
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            type_uri: format!("/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: self.detail,
            errors: self.errors,
            members: self.members,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.extend(self.headers);
        response
    }
}

/// `GET /problems` and `GET /problems/{code}`: what each code means, in plain text.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let describe =
        |code: Code| format!("{} ({})\n{}.\n{}\n", code.as_str(), code.status(), code.title(), code.help());
    Router::new()
        .route(
            "/problems",
            get(move || async move {
                Code::ALL.iter().map(|code| describe(*code)).collect::<Vec<_>>().join("\n")
            }),
        )
        .route(
            "/problems/{code}",
            get(move |Path(name): Path<String>| async move {
                let code = Code::ALL.iter().find(|code| code.as_str() == name);
                code.map(|code| describe(*code)).ok_or_else(|| Problem::new(Code::NotFound))
            }),
        )
}

/// The fallback of a router: nothing is served under this path.
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub async fn no_such_path() -> Problem {
    Problem::new(Code::NotFound).detail("nothing is served under this path; /docs lists what is")
}

/// The fallback of a route: it does not support the method.
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub async fn no_such_method() -> Problem {
    Problem::new(Code::MethodNotAllowed)
}

/// What a handler's panic is answered with. The panic itself is logged by the panic hook.
pub fn after_panic(_panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Problem::new(Code::Internal).into_response()
}
