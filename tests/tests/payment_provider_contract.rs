//! What every payment provider must do, whoever it is: one suite, run over each adapter.

mod capturing;
mod charging;
mod notices;
mod refunding;
mod sandbox;
mod stripe;
mod voiding;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    Amount, OrderId, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, Charge, ChargeEnding, ChargeState, ProviderReport},
};
use http::HeaderMap;
use infra::payment_provider::{ChargeRequest, PaymentProvider, RefundRequest};
use uuid::Uuid;

use crate::support::eventually;

/// A payment provider under test: the adapter, and the other side of it.
#[async_trait]
trait Fixture: Send + Sync + Sized + 'static {
    /// A provider that has nothing yet.
    async fn fresh() -> Self;

    fn provider(&self) -> Arc<dyn PaymentProvider>;

    /// The adapter with credentials that the provider does not know.
    fn provider_without_credentials(&self) -> Arc<dyn PaymentProvider>;

    /// The token of a means of payment that behaves so.
    fn method(&self, behaviour: Behaviour) -> &'static str;

    /// The customer does what the pending charge waits for, or goes away.
    async fn settle(&self, request: &ChargeRequest, completed: bool);

    /// The bank settles a pending refund.
    async fn settle_refund(&self, request: &RefundRequest, succeeds: bool);

    /// From now on nobody answers, or somebody does again. What was asked for meanwhile was not done.
    async fn take_down(&self);
    async fn bring_up(&self);

    /// The answer to the next request is lost after it was done. Others arrive.
    async fn lose_next_answer(&self);

    /// What has really moved, as the provider's own books have it.
    async fn moved(&self, payment: PaymentId) -> Moved;

    /// The webhooks about the payment that have come so far, in the order of what they tell of.
    fn webhooks(&self, payment: PaymentId) -> Vec<Webhook>;

    /// Signs a body as the provider does.
    fn sign(&self, body: &[u8], at: Timestamp) -> HeaderMap;

    /// Signs a body with two secrets, the second of them the provider's.
    fn sign_while_rotating(&self, body: &[u8], at: Timestamp) -> HeaderMap;

    /// Signs a body with a secret that is not the provider's.
    fn forge(&self, body: &[u8], at: Timestamp) -> HeaderMap;
}

/// How a means of payment behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Fine,
    DeclinesForGood,
    /// The customer may try again.
    Declines,
    /// Pending until the customer has done something.
    WaitsForCustomer,
    RefundsFail,
    /// Pending until the bank has done something.
    RefundsWait,
}

/// Sums of a payment, and how often money has moved, in all its charges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    captures: u64,
    captured: i64,
    refunds: u64,
    refunded: i64,
    /// Set aside, neither captured nor given back.
    held: i64,
}

/// A webhook as it came.
#[derive(Debug, Clone)]
struct Webhook {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The webhooks about the payment, once so many have come.
async fn webhooks(fixture: &impl Fixture, payment: PaymentId, count_min: usize) -> Vec<Webhook> {
    eventually("webhooks of a payment", async || {
        let webhooks = fixture.webhooks(payment);
        (webhooks.len() >= count_min).then_some(webhooks)
    })
    .await
}

/// Makes a test of every rule of the contract for one adapter.
macro_rules! payment_provider_contract {
    ($fixture:ty) => {
        payment_provider_contract! { $fixture:
            charging::a_charge_is_taken_once_however_often_it_is_asked_for,
            charging::a_charge_is_authorized_only_where_it_is_captured_apart,
            charging::charges_of_a_payment_are_told_apart_by_their_number,
            charging::a_decline_is_a_report_that_stays,
            charging::after_a_decline_another_charge_may_be_taken,
            charging::a_lost_answer_is_told_as_such_and_found_by_looking_it_up,
            charging::what_was_never_asked_for_is_not_there,
            charging::a_charge_waits_for_its_customer,
            charging::a_customer_who_goes_away_may_try_again,
            charging::while_the_provider_is_down_nothing_is_done,
            charging::credentials_that_are_not_known_are_told_as_such,
            capturing::a_capture_is_done_once_by_the_total_it_brings,
            capturing::more_than_is_authorized_is_not_captured,
            capturing::a_lost_capture_is_found_by_looking_it_up,
            voiding::what_is_authorized_is_given_back_once,
            voiding::what_is_captured_in_part_stays_captured,
            voiding::what_is_captured_in_full_cannot_be_given_back_by_a_void,
            voiding::a_charge_that_comes_after_its_void_takes_nothing,
            voiding::of_a_charge_and_a_void_at_once_nothing_is_left_held,
            voiding::a_pending_charge_is_given_up,
            voiding::nothing_is_captured_after_a_void,
            refunding::a_refund_is_paid_once_by_its_id,
            refunding::refunds_in_parts_are_paid_up_to_what_was_captured,
            refunding::a_refund_that_fails_is_told_and_pays_nothing,
            refunding::a_refund_waits_for_its_bank,
            refunding::a_lost_refund_is_not_paid_again,
            notices::what_happens_is_told_by_signed_webhooks,
            notices::refunds_are_told_by_webhooks,
            notices::webhooks_in_any_order_and_number_end_the_same,
            notices::a_webhook_that_was_altered_is_refused,
            notices::a_webhook_of_somebody_else_is_refused,
            notices::a_webhook_of_another_time_is_refused,
            notices::a_webhook_without_a_signature_is_refused,
            notices::while_a_secret_is_replaced_either_signature_counts,
            notices::what_does_not_concern_us_is_passed_over,
        }
    };
    ($fixture:ty: $($topic:ident::$rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::$topic::$rule(fixture).await;
        }
    )*};
}
use payment_provider_contract;

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// A charge of a new payment, of 100.00, captured in the same step.
fn request(method: &str) -> ChargeRequest {
    request_in(CaptureMode::Automatic, method)
}

/// A charge of a new payment, captured apart.
fn request_to_authorize(method: &str) -> ChargeRequest {
    request_in(CaptureMode::Manual, method)
}

fn request_in(capture: CaptureMode, method: &str) -> ChargeRequest {
    let order_id = OrderId(Uuid::new_v4());
    let charge = Charge {
        number: 1,
        provider: String::new(),
        method: method.to_owned(),
        amount: amount(10_000),
        capture,
        reference: None,
        authorized: Amount::ZERO,
        captured: Amount::ZERO,
        capture_requested: Amount::ZERO,
        state: ChargeState::Requested,
    };
    let (payment_id, currency) = (PaymentId::of_order(order_id), "GBP".parse().unwrap());
    ChargeRequest { payment_id, order_id, currency, charge, requested_at: Timestamp::now() }
}

/// The next charge of the same payment.
fn another_charge(request: &ChargeRequest, method: &str) -> ChargeRequest {
    let mut another = request.clone();
    another.charge.number += 1;
    method.clone_into(&mut another.charge.method);
    another.charge.reference = None;
    another
}

/// The charge as it is known once the provider has reported.
fn known_by(request: &ChargeRequest, report: &ProviderReport) -> ChargeRequest {
    let mut known = request.clone();
    known.charge.reference = Some(report.reference.clone());
    (known.charge.authorized, known.charge.captured) = (report.authorized, report.captured);
    known
}

fn refund_of(charge: &ChargeRequest, minor_units: i64) -> RefundRequest {
    let refund_id = RefundId(Uuid::new_v4());
    let (amount, requested_at) = (amount(minor_units), Timestamp::now());
    RefundRequest { charge: charge.clone(), refund_id, amount, requested_at }
}

/// What was authorized, what was captured, and whether it ended.
fn figures(report: &ProviderReport) -> (i64, i64, Option<&'static str>) {
    let ending = match &report.ending {
        None => None,
        Some(ChargeEnding::Voided) => Some("voided"),
        Some(ChargeEnding::Failed { retryable: true, .. }) => Some("failed for now"),
        Some(ChargeEnding::Failed { retryable: false, .. }) => Some("failed for good"),
    };
    (report.authorized.minor_units(), report.captured.minor_units(), ending)
}

/// Charges, and gives the charge as it is known then.
async fn given_charge(fixture: &impl Fixture, request: ChargeRequest) -> ChargeRequest {
    let answer = fixture.provider().charge(&request).await.expect("a provider that is up answers");
    known_by(&request, &answer.report)
}
