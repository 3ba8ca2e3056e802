//! The payment provider port: ask for money, give it back, ask what became of it, and read what the provider sends.
//!
//! Whatever is asked for is on record before it is asked, and is asked again until an answer is recorded; so every
//! operation here may be repeated, also years later and from another process, and is done once.

pub mod stripe;

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp,
    payment::{Charge, ProviderReport},
};
use http::HeaderMap;

/// A charge as the provider is to know it. `payment_id` and `charge.number` name it for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeRequest {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub currency: Currency,
    /// What is known of it here; its `reference` is the provider's own id, where that is known.
    pub charge: Charge,
    /// When it was recorded that the provider is to be asked. Providers forget idempotency keys after a time (Stripe:
    /// 24 hours); an adapter looks for itself where a key may be forgotten.
    pub requested_at: Timestamp,
}

/// Money to give back of what a charge has captured. `refund_id` names it for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct RefundRequest {
    pub charge: ChargeRequest,
    pub refund_id: RefundId,
    pub amount: Amount,
    pub requested_at: Timestamp,
}

/// How a charge stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeAnswer {
    pub report: ProviderReport,
    /// What the customer has to do before it goes on, in the provider's own terms: a page to be sent to, a secret for
    /// the provider's script.
    pub next_action: Option<serde_json::Value>,
}

impl From<ProviderReport> for ChargeAnswer {
    fn from(report: ProviderReport) -> Self {
        Self { report, next_action: None }
    }
}

/// How a refund stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundAnswer {
    /// The provider has it and has not paid it out yet.
    Pending,
    Refunded {
        reference: String,
    },
    Failed {
        reason: String,
    },
}

/// Why the provider has not answered a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nothing was done: the provider was not reached, or said that it could not look at it now.
    #[error("the payment provider cannot be reached: {0}")]
    Unreachable(String),
    /// It may or may not have been done.
    #[error("the answer of the payment provider was lost: {0}")]
    OutcomeUnknown(String),
    /// Nothing was done, and asking again is no use: the request itself is refused (not: the money).
    #[error("the payment provider refuses the request: {0}")]
    Refused(String),
    /// Nothing was done: the provider does not know these credentials.
    #[error("the payment provider does not accept the credentials: {0}")]
    Credentials(String),
}

/// What a provider sends of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The provider's id of this notice: the same one may come more than once, and in any order.
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
        refund_id: RefundId,
        answer: RefundAnswer,
    },
    /// Nothing that concerns a payment of this platform.
    Other,
}

/// Why a request is not taken for a notice of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    #[error("the signature is missing or not well formed")]
    NoSignature,
    #[error("the signature does not fit the body")]
    WrongSignature,
    #[error("the time of the signature is too far from now")]
    Stale,
    #[error("the body cannot be read")]
    Unreadable,
}

/// A payment provider. Contract, checked by the suite in `tests/tests/payment_provider_contract.rs`:
/// - Each operation is done once, however often and from wherever it is asked for: a charge by payment and number, a
///   capture by the total it brings a charge to, a refund by its id.
/// - Reports are cumulative and tell of the charge as it stands, not of the last operation.
/// - After [`PaymentProvider::void`] has answered, nothing is taken of that charge any more, even by a request to charge
///   that was sent before and arrives later.
/// - An operation answers within 30 seconds, or with [`ProviderError::OutcomeUnknown`].
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// As in the path of its webhooks and in events.
    fn name(&self) -> &'static str;

    /// Asks for the money: authorizes it, and captures it where the charge says so. A decline is a report.
    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError>;

    /// Captures `amount` more, which brings the charge to `total`.
    async fn capture(
        &self,
        request: &ChargeRequest,
        amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError>;

    /// Gives back what is authorized and not captured, or gives the charge up; also one that the provider never saw.
    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError>;

    /// How the charge stands; none where the provider has none and has taken nothing.
    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError>;

    /// Pays money back, or says how that stands.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError>;

    /// Reads a webhook: checks the signature over the bytes as they came, then what they say.
    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError>;
}
