//! Stripe as payment provider: PaymentIntents, Refunds and signed webhooks, over HTTP.
//!
//! A charge is one PaymentIntent, named by its metadata. It is made unconfirmed, which takes no money, and then confirmed
//! by its id; Stripe takes money at most once for an intent, so a charge is taken at most once if it has one intent.
//! That it has one is seen to by [`charging`], and what Stripe says is made into reports by [`report`].
//!
//! Nothing is repeated in here: whoever asks, asks again.

mod api;
mod charging;
mod currency;
mod notice;
mod object;
mod options;
mod refunding;
mod report;

use std::time::Duration;

use async_trait::async_trait;
use domain::{Amount, Timestamp, payment::ProviderReport};
use http::HeaderMap;

use self::api::Api;
pub use self::options::{OptionsError, StripeOptions};
use super::{
    ChargeAnswer, ChargeRequest, Notice, NoticeError, PaymentProvider, ProviderError, RefundAnswer,
    RefundRequest,
};
use crate::clock::Clock;

/// As in the path of webhooks and in events.
pub const NAME: &str = "stripe";
/// The version of Stripe's API that this adapter speaks, whatever the account's own is. Webhook endpoints are to be set
/// to the same.
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// How long an operation may take in all: two or three requests to Stripe.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(28);
/// How old a request may be for Stripe to know its idempotency key for certain: keys are kept for 24 hours at least, and
/// the clocks differ by less than an hour.
const KEY_LIFE_CERTAIN: Duration = Duration::from_hours(23);

/// Stripe, with the account that the secret key belongs to.
#[derive(Debug)]
pub struct StripeProvider {
    api: Api,
    options: StripeOptions,
    clock: Clock,
}

impl StripeProvider {
    /// Connects to nothing yet. Fails where the certificates that this machine trusts cannot be read.
    pub fn new(options: StripeOptions, clock: Clock) -> Result<Self, OptionsError> {
        Ok(Self { api: Api::new(&options)?, options, clock })
    }

    /// Whether Stripe may have forgotten the idempotency key of what was asked for then.
    fn may_be_forgotten(&self, requested_at: Timestamp) -> bool {
        let age = self.clock.now().duration_since(requested_at);
        age > KEY_LIFE_CERTAIN.try_into().unwrap_or_default()
    }
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        in_time(self.take(request)).await
    }

    async fn capture(
        &self,
        request: &ChargeRequest,
        _amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        in_time(self.capture_total(request, total)).await
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        in_time(self.end(request)).await
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        in_time(self.inspect(request)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        in_time(self.pay_back(request)).await
    }

    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError> {
        notice::verify(headers, body, self.options.webhook_secret.reveal(), now)?;
        notice::read(body)
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let late = |_| ProviderError::OutcomeUnknown("Stripe does not answer in time".to_owned());
    tokio::time::timeout(OPERATION_TIMEOUT, operation).await.map_err(late)?
}

#[cfg(test)]
mod tests;
