//! Stripe as payment provider: PaymentIntents, Refunds and signed webhooks, over HTTP.
//!
//! A charge is one PaymentIntent. Its metadata names the charge. The adapter creates it unconfirmed, which
//! takes no money, and then confirms it by its id. Stripe takes money at most once per intent, so one intent
//! per charge takes the money at most once. [`charging`] makes sure that there is one intent, and [`report`]
//! converts Stripe's state into reports.
//!
//! This adapter never retries a request. The caller repeats the operation.

mod api;
mod books;
mod charging;
mod currency;
mod movements;
mod notice;
mod object;
mod options;
mod refunding;
mod report;

use std::time::Duration;

use async_trait::async_trait;
use domain::{Amount, PaymentId, Timestamp, payment::ProviderReport};
use http::HeaderMap;

pub use self::options::{StripeOptions, StripeOptionsError};
use self::{api::Api, notice::Signed};
use super::{
    Book, BookPage, ChargeAnswer, ChargeRequest, Notice, NoticeError, PaymentProvider, Period, ProviderError,
    RefundAnswer, RefundRequest,
};
use crate::clock::Clock;

/// The name of the provider in the path of webhooks and in events.
pub const NAME: &str = "stripe";
/// The version of Stripe's API that this adapter uses, independent of the account's default. Set webhook
/// endpoints to the same version.
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// Time limit for an operation, which is usually two or three requests to Stripe.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(28);
/// Age up to which Stripe certainly knows the idempotency key of a request. Stripe keeps keys for at least 24
/// hours, and the clocks differ by less than one hour.
const KEY_LIFE_MIN: Duration = Duration::from_hours(23);

/// Stripe, with the account that the secret key belongs to.
#[derive(Debug)]
pub struct StripeProvider {
    api: Api,
    options: StripeOptions,
    clock: Clock,
}

impl StripeProvider {
    /// Does not connect. Fails if the trusted certificates of this machine cannot be read.
    pub fn new(options: StripeOptions, clock: Clock) -> Result<Self, StripeOptionsError> {
        Ok(Self { api: Api::new(&options)?, options, clock })
    }

    /// True if Stripe may have forgotten the idempotency key of a request that was recorded at this time.
    fn key_may_be_forgotten(&self, requested_at: Timestamp) -> bool {
        let age = self.clock.now().duration_since(requested_at);
        age > KEY_LIFE_MIN.try_into().unwrap_or_default()
    }
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn captures_in_parts(&self) -> bool {
        self.options.multicapture
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        in_time(self.start_charge(request)).await
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
        in_time(self.void_charge(request)).await
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        in_time(self.look_up_charge(request)).await
    }

    async fn look_up_reference(
        &self,
        reference: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        in_time(self.report_of_intent(reference)).await
    }

    async fn read_book(
        &self,
        book: Book,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError> {
        in_time(self.page_of_book(book, period, after)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        in_time(self.refund_once(request)).await
    }

    fn check_notice_headers(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), NoticeError> {
        Signed::read(headers, now).map(drop)
    }

    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError> {
        Signed::read(headers, now)?.verify(body, self.options.webhook_secret.reveal())?;
        notice::read(body)
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let timed_out = |_| ProviderError::OutcomeUnknown("Stripe did not answer in time".to_owned());
    tokio::time::timeout(OPERATION_TIMEOUT, operation).await.map_err(timed_out)?
}

#[cfg(test)]
mod tests;
