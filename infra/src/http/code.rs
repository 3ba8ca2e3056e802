//! Every error code of the APIs, with its status, title and help text.

use std::{borrow::Cow, fmt};

use http::StatusCode;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

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

            /// What the caller can do.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let codes = Self::ALL.iter().map(|code| code.as_str());
        let description = "What is wrong. A later version may add codes; the status tells how to treat them.";
        Object::builder()
            .schema_type(Type::String)
            .description(Some(description))
            .enum_values(Some(codes))
            .into()
    }
}

impl ToSchema for Code {
    fn name() -> Cow<'static, str> {
        "ProblemCode".into()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    MalformedJson "malformed_json" BAD_REQUEST "The body is not JSON" "Send one JSON value, in UTF-8.";
    InvalidRequest "invalid_request" UNPROCESSABLE_ENTITY "The request is not valid" "`errors` names each wrong member and the reason.";
    InvalidParameter "invalid_parameter" BAD_REQUEST "A parameter is not valid" "`errors` names each wrong part of the URL or header and the reason.";
    InvalidCursor "invalid_cursor" BAD_REQUEST "The cursor is not valid" "Pass `next_cursor` of the previous page, unchanged and with the same filters, or start without a cursor.";
    IdempotencyKeyMissing "idempotency_key_missing" BAD_REQUEST "The Idempotency-Key header is missing" "Send an Idempotency-Key of 1 to 255 visible characters. Repeat it on every retry.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request" "Use a new key for a new request. A retry repeats the body unchanged.";
    Unauthorized "unauthorized" UNAUTHORIZED "The credentials are missing or wrong" "Send `Authorization: Bearer` and the secret.";
    Unauthenticated "unauthenticated" UNAUTHORIZED "The credentials are missing or not valid" "Send `Authorization: Bearer` and an API key, or a token of the issuer. `detail` gives the reason.";
    Forbidden "forbidden" FORBIDDEN "The caller lacks a scope" "`scope` names it. Use a key or a token that has this scope.";
    WrongOrigin "wrong_origin" FORBIDDEN "The request comes from a page of another site" "Send the request from a program, or from a page of this server.";
    NotFound "not_found" NOT_FOUND "The resource does not exist" "Check the id and the path.";
    UnknownCharge "unknown_charge" NOT_FOUND "The charge or the refund does not exist" "No money was taken.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The resource does not support this method" "The `Allow` header lists the supported methods.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body is not declared as JSON" "Send `Content-Type: application/json`.";
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE "The body is too large" "`detail` states the limit.";
    MalformedRequest "malformed_request" BAD_REQUEST "The request is not HTTP" "Send HTTP/1.1 as RFC 9112 describes it.";
    UriTooLong "uri_too_long" URI_TOO_LONG "The URL is too long" "URL and headers have at most 32 KiB together.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large" "A request has at most 100 headers. URL and headers have at most 32 KiB together.";
    HttpVersion "http_version" HTTP_VERSION_NOT_SUPPORTED "The version of HTTP is not supported" "Send HTTP/1.1.";
    WrongHost "wrong_host" MISDIRECTED_REQUEST "The server does not answer to this host" "Use its IP address, `localhost`, or a name in ORDERLY_ALLOWED_HOSTS.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request did not arrive in time" "Send the whole request without pauses.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS "The caller has sent too many requests" "Retry after `Retry-After` seconds, with the same key. `RateLimit-Policy` states the limit.";
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "The resource has changed" "`If-Match` names a revision that is not the current one. Read the resource again.";
    Conflict "conflict" CONFLICT "Other commands kept changing the stream" "Send the request again with the same key. Recorded parts are not repeated.";
    InsufficientStock "insufficient_stock" CONFLICT "Not enough stock" "`shortages` lists each SKU with too few units. The order is recorded as rejected: order again under a new key.";
    StockBelowReserved "stock_below_reserved" CONFLICT "The adjustment would go below the reserved units" "Cancel orders first, or adjust by less.";
    StockLimit "stock_limit" CONFLICT "A SKU cannot have that many units" "A SKU has at most 1,000,000,000 units on hand.";
    OrderStatus "order_status" CONFLICT "The order's status does not allow this" "`detail` names the status.";
    OrderTooLarge "order_too_large" UNPROCESSABLE_ENTITY "The order is too large" "`detail` states its size and the limit, in bytes. Divide the order.";
    OrderNotPaid "order_not_paid" CONFLICT "The order is not paid" "Capture the payment first.";
    OrderNotAuthorized "order_not_authorized" CONFLICT "The shipment is not authorized" "`detail` states what must be authorized. Charge the payment again.";
    TermsNotSupported "terms_not_supported" UNPROCESSABLE_ENTITY "The terms are not possible here" "A provider that captures an authorisation only once, and an order with several payments, need the terms `prepaid` or `net`.";
    OrderRefunded "order_refunded" CONFLICT "All that was paid for the order is refunded" "Nothing ships any more. Cancel the order.";
    ShipmentArrived "shipment_arrived" CONFLICT "The shipment was delivered, or units of it are back" "Only a shipment that never left can be undone: use a return.";
    ShipmentUndone "shipment_undone" CONFLICT "The shipment was undone" "Its units are to be shipped again.";
    NothingToShip "nothing_to_ship" CONFLICT "Nothing is left to ship" "All units are shipped or cancelled.";
    NothingToCancel "nothing_to_cancel" CONFLICT "Nothing is left to cancel" "All units are shipped: use a return.";
    QuantityUnavailable "quantity_unavailable" CONFLICT "The line does not have that many units left" "`detail` states how many units can be shipped, cancelled or returned.";
    RefundTooLarge "refund_too_large" CONFLICT "The refund exceeds the refundable amount" "`detail` states the refundable amount.";
    PaymentNotDue "payment_not_due" CONFLICT "The payment is not due yet" "An order expires only after its due date.";
    PaymentState "payment_state" CONFLICT "The payment's status does not allow this" "`detail` names the status.";
    PaymentClosed "payment_closed" CONFLICT "The order of this payment has ended" "No further authorisation is possible. To record money that arrived by hand all the same, capture its `amount`.";
    ChargeUnderWay "charge_under_way" CONFLICT "The provider is working on a charge of this payment" "Wait for the outcome from the provider. Record an authorisation by hand only after a lost answer.";
    NothingToCredit "nothing_to_credit" CONFLICT "The returned units give no credit" "What was paid for them is 0, or the new order costs nothing. Record a return and place an order.";
    PaymentOfCredit "payment_of_credit" CONFLICT "The payment is the credit of an exchange" "No provider and no operator has its money. Refund the order instead.";
    PaymentOfProvider "payment_of_provider" CONFLICT "A provider has money of this payment" "Add another payment to the order, and record the money by hand there.";
    AmountTooLarge "amount_too_large" CONFLICT "The amount is larger than allowed" "`detail` states how much is left to ask for, authorize, capture or refund.";
    TermsDiffer "terms_differ" CONFLICT "An earlier request with this number or id had other terms" "Repeat a charge or refund with the same terms. Use a new number or id for another one.";
    RefundSettled "refund_settled" CONFLICT "The refund already has another outcome" "Read the payment for the outcome.";
    RefundUnderWay "refund_under_way" CONFLICT "The provider knows the outcome of this refund" "Wait for the report of the provider. Record an outcome by hand only after a lost answer.";
    TooManyParts "too_many_parts" CONFLICT "There are too many shipments, returns, refunds, payments or charges" "`detail` states the limit.";
    WebhookSignature "webhook_signature" UNAUTHORIZED "The signature of the webhook is missing or wrong" "Sign the bytes of the body with the shared secret. Clocks may differ by at most five minutes.";
    WebhookUrlRefused "webhook_url_refused" UNPROCESSABLE_ENTITY "Webhooks are not sent to this URL" "`errors` gives the reason. Use an https:// URL on the public Internet.";
    TooManySubscriptions "too_many_subscriptions" CONFLICT "The limit of subscriptions is reached" "Delete a subscription that you no longer need.";
    SubscriptionDeleted "subscription_deleted" CONFLICT "The subscription made under this key was deleted" "Subscribe under a new key.";
    SubscriptionDisabled "subscription_disabled" CONFLICT "The subscription is disabled" "Enable it first. After a 410 answer, or if every attempt has failed, make sure that the receiver accepts webhooks again.";
    WebhookQueueFull "webhook_queue_full" CONFLICT "The subscription has too many pending deliveries" "Make sure that the receiver accepts events, and replay later.";
    ReplayTooLarge "replay_too_large" UNPROCESSABLE_ENTITY "The replay has too many events" "`detail` states the limit. Replay a shorter time span.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "Too many requests are in progress" "Nothing was recorded. Retry after `Retry-After` seconds, with the same key.";
    Busy "busy" SERVICE_UNAVAILABLE "Another request or reaction is working on this order or payment" "Retry after `Retry-After` seconds, with the same key: the answer is the first one if the command was recorded.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "A store cannot be reached or written" "Retry after `Retry-After` seconds, with the same key.";
    NotReady "not_ready" SERVICE_UNAVAILABLE "This process cannot do one of its roles" "`condition` names the reason, and `detail` states what an operator can do.";
    ProjectionsBehind "projections_behind" SERVICE_UNAVAILABLE "The read models cannot follow the orders" "Nothing was recorded. Retry after `Retry-After` seconds, with the same key.";
    OutcomeUnknown "outcome_unknown" SERVICE_UNAVAILABLE "The command may or may not have been recorded" "Retry with the same key: the command is executed at most once.";
    StreamUnreadable "stream_unreadable" SERVICE_UNAVAILABLE "An event of this resource cannot be decoded" "A retry does not help. The log of the command API names the event. An operator installs the version of Orderly that wrote it, or restores a backup if it is damaged.";
    RevisionNotReached "revision_not_reached" SERVICE_UNAVAILABLE "The read model has not reached that revision yet" "Retry after `Retry-After` seconds.";
    ProjectionParked "projection_parked" SERVICE_UNAVAILABLE "The read model cannot apply an event of this stream" "Waiting does not help. An operator must check `orderly projections list`.";
    LogWentBack "log_went_back" SERVICE_UNAVAILABLE "The event log lost events that were read before" "Waiting does not help. An operator must run `orderly repair log` and start the process again.";
    Internal "internal" INTERNAL_SERVER_ERROR "An internal error occurred" "The log has the details. A retry with the same key is safe.";
}
