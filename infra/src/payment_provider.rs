//! The payment provider port: charge, capture, void, refund, look up a charge, and read the provider's
//! webhooks.
//!
//! The caller records every request before it sends it, and repeats it until an answer is recorded. So an
//! operation may be repeated, even years later and from another process, and the provider must do it once.

pub mod stripe;

mod books;

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp,
    payment::{Charge, DisputeReport, ProviderReport, RefundReport},
};
use http::HeaderMap;

pub use self::books::{Book, BookEntry, BookItem, BookPage, Period};

/// A charge. `payment_id` and `charge.number` identify it forever.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeRequest {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub currency: Currency,
    /// The recorded state of the charge. Its `reference` is the id at the provider, if that is known.
    pub charge: Charge,
    /// When the request was recorded. Providers forget idempotency keys after a time (Stripe: 24 hours or
    /// later). If the key may be forgotten, the adapter must search for an earlier request itself.
    pub requested_at: Timestamp,
}

/// A refund of captured money. `refund_id` identifies it forever.
#[derive(Debug, Clone, PartialEq)]
pub struct RefundRequest {
    pub charge: ChargeRequest,
    pub refund_id: RefundId,
    pub amount: Amount,
    pub requested_at: Timestamp,
}

/// The current state of a charge.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeAnswer {
    pub report: ProviderReport,
    /// The action that the customer must take before the charge continues, in the provider's terms: the URL
    /// of a page, or a secret for the provider's script.
    pub next_action: Option<serde_json::Value>,
}

impl From<ProviderReport> for ChargeAnswer {
    fn from(report: ProviderReport) -> Self {
        Self { report, next_action: None }
    }
}

/// The current state of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundAnswer {
    /// The provider has accepted the refund and has not paid it out yet.
    Pending,
    Refunded {
        reference: String,
    },
    Failed {
        reason: String,
    },
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nothing was done: the provider was not reached, or was too busy.
    #[error("cannot reach the payment provider: {0}")]
    Unreachable(String),
    /// The operation may or may not have been done. Repeat it.
    #[error("the outcome at the payment provider is unknown: {0}")]
    OutcomeUnknown(String),
    /// Nothing was done, and a retry fails too: the provider refuses the request. A declined charge is not an
    /// error but a report.
    #[error("the payment provider refuses the request: {0}")]
    Refused(String),
    /// Nothing was done: the provider refuses the credentials.
    #[error("the payment provider refuses the credentials: {0}")]
    Credentials(String),
}

/// A webhook of the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The provider's id of this notice. Notices may arrive more than once and in any order.
    pub id: String,
    pub content: NoticeContent,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NoticeContent {
    Charge {
        payment_id: PaymentId,
        report: ProviderReport,
    },
    Refund {
        payment_id: PaymentId,
        report: RefundReport,
    },
    Dispute {
        payment_id: PaymentId,
        report: DisputeReport,
    },
    /// Money has moved on a charge that the notice names only by the provider's id:
    /// [`PaymentProvider::look_up_reference`] reads its state.
    Moved {
        reference: String,
    },
    /// Does not concern a payment of this platform.
    Other,
}

/// Why a request is refused as a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    #[error("the signature is missing or malformed")]
    NoSignature,
    #[error("the signature does not match the body")]
    WrongSignature,
    #[error("the time of the signature differs too much from the current time")]
    Stale,
    #[error("the body cannot be read")]
    Unreadable,
}

/// A payment provider. Contract, checked by the suite in `tests/tests/payment_provider_contract.rs`:
/// - Each operation is done once, even if several processes repeat it. The payment and number identify a
///   charge, the new captured total identifies a capture, the id identifies a refund.
/// - Reports are cumulative: they describe the current state of the charge, not the last operation.
/// - A report that [`PaymentProvider::look_up`] returns includes the refunds and disputes of the charge, also those
///   that started at the provider.
/// - The books list every charge, refund and dispute of this platform once, by the time at which the provider made it.
/// - After [`PaymentProvider::void`] has answered, the charge takes no more money. That includes a request to
///   charge that was sent before and arrives later.
/// - An operation answers within 30 seconds, or fails with [`ProviderError::OutcomeUnknown`].
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// The name of the provider in commands, in events and in the path of its webhooks.
    fn name(&self) -> &'static str;

    /// True if one authorisation can be captured in several parts. Orders that ship on an authorisation need it.
    fn captures_in_parts(&self) -> bool;

    /// Authorizes the money, and captures it if the charge has automatic capture. A decline is a report, not
    /// an error.
    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError>;

    /// Captures `amount` more, so that the captured total becomes `total`.
    async fn capture(
        &self,
        request: &ChargeRequest,
        amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError>;

    /// Releases the authorized money that is not captured, and ends the charge. Also ends a charge that the
    /// provider never received.
    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError>;

    /// The current state of the charge. `None` if the provider does not have it and has taken no money.
    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError>;

    /// The current state of the charge with this id at the provider, with its refunds and disputes. `None` if no
    /// payment of this platform requested it.
    async fn look_up_reference(
        &self,
        reference: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError>;

    /// A page of the charges, refunds or disputes of this platform that the provider made in a period. `after` is the `next` of
    /// the page before. Omits what other programs made under the same account.
    async fn read_book(
        &self,
        book: Book,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError>;

    /// Refunds money. A repeated call returns the state of the refund.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError>;

    /// Checks what the headers of a notice show without its body: the signature is there and well formed, and
    /// its time is near the current time.
    fn check_notice_headers(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), NoticeError>;

    /// Checks the signature over the received bytes, then decodes the notice.
    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError>;
}
