//! The contract of the payment provider port: one suite that runs over every adapter.

mod at_provider;
mod books;
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

/// A payment provider under test: the adapter, and control over the provider behind it.
#[async_trait]
trait Fixture: Send + Sync + Sized + 'static {
    /// A provider without charges.
    async fn fresh() -> Self;

    fn provider(&self) -> Arc<dyn PaymentProvider>;

    /// The adapter, with credentials that the provider does not know.
    fn provider_without_credentials(&self) -> Arc<dyn PaymentProvider>;

    /// The token of a payment method with this behaviour.
    fn method(&self, behaviour: Behaviour) -> &'static str;

    /// The customer completes the action of a pending charge, or abandons it.
    async fn settle(&self, request: &ChargeRequest, completed: bool);

    /// The bank settles a pending refund.
    async fn settle_refund(&self, request: &RefundRequest, succeeds: bool);

    /// Refunds money without a request of the platform.
    async fn refund_at_provider(&self, charge: &ChargeRequest, minor_units: i64);

    /// The customer disputes this amount through the bank.
    async fn dispute(&self, charge: &ChargeRequest, minor_units: i64);

    /// The bank decides the only dispute of the charge.
    async fn close_dispute(&self, charge: &ChargeRequest, is_won: bool);

    /// Makes the provider unreachable, so that requests are not done.
    async fn take_down(&self);
    /// Makes the provider reachable again.
    async fn bring_up(&self);

    /// The provider does the next request, but its answer is lost. Later answers arrive.
    async fn lose_next_answer(&self);

    /// The money that has moved, according to the provider's records.
    async fn moved(&self, payment: PaymentId) -> Moved;

    /// The webhooks about the payment so far, in the order of the changes that they report.
    fn webhooks(&self, payment: PaymentId) -> Vec<Webhook>;

    /// Signs a body as the provider does.
    fn sign(&self, body: &[u8], at: Timestamp) -> HeaderMap;

    /// Signs a body with two secrets. The second is the provider's.
    fn sign_while_rotating(&self, body: &[u8], at: Timestamp) -> HeaderMap;

    /// Signs a body with a secret that is not the provider's.
    fn forge(&self, body: &[u8], at: Timestamp) -> HeaderMap;
}

/// Behaviour of a payment method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Fine,
    DeclinesForGood,
    /// Declines, and the customer may retry.
    Declines,
    /// The charge is pending until the customer acts.
    WaitsForCustomer,
    RefundsFail,
    /// The refund is pending until the bank settles it.
    RefundsWait,
}

/// Sums and numbers of money movements in all charges of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    captures: u64,
    captured: i64,
    refunds: u64,
    refunded: i64,
    /// Authorized, and neither captured nor released.
    held: i64,
}

/// A received webhook.
#[derive(Debug, Clone)]
struct Webhook {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Waits for `count_min` webhooks about the payment.
async fn webhooks(fixture: &impl Fixture, payment: PaymentId, count_min: usize) -> Vec<Webhook> {
    eventually("webhooks of a payment", async || {
        let webhooks = fixture.webhooks(payment);
        (webhooks.len() >= count_min).then_some(webhooks)
    })
    .await
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! payment_provider_contract {
    ($fixture:ty) => {
        payment_provider_contract! { $fixture:
            charging::a_repeated_charge_takes_the_money_once,
            charging::a_charge_with_manual_capture_is_only_authorized,
            charging::the_number_distinguishes_charges_of_a_payment,
            charging::a_decline_is_a_report_that_never_changes,
            charging::another_charge_can_succeed_after_a_decline,
            charging::a_lost_answer_is_an_unknown_outcome_and_a_lookup_finds_the_charge,
            charging::a_lookup_of_an_unknown_charge_finds_nothing,
            charging::a_charge_is_pending_until_the_customer_acts,
            charging::a_charge_that_the_customer_abandons_fails_and_is_retryable,
            charging::requests_to_an_unreachable_provider_do_nothing,
            at_provider::a_refund_made_at_the_provider_is_reported_by_webhook_and_look_up,
            at_provider::a_dispute_is_reported_by_webhook_and_look_up_until_it_is_decided,
            at_provider::a_paid_refund_may_fail_late,
            books::the_books_list_each_charge_and_refund_once,
            books::a_look_up_by_reference_finds_what_the_books_list,
            books::a_period_of_the_books_begins_with_its_first_second_and_ends_before_its_last,
            books::a_refund_counts_in_the_books_while_it_is_paid,
            books::a_dispute_counts_in_the_books_until_it_is_won,
            charging::unknown_credentials_are_reported,
            capturing::a_repeated_capture_with_the_same_total_is_done_once,
            capturing::a_capture_beyond_the_authorized_amount_is_refused,
            capturing::a_lookup_finds_a_lost_capture,
            voiding::a_repeated_void_releases_the_authorized_money_once,
            voiding::a_void_keeps_a_partial_capture,
            voiding::a_void_does_not_return_a_full_capture,
            voiding::a_charge_that_arrives_after_its_void_takes_no_money,
            voiding::a_concurrent_charge_and_void_leave_no_money_held,
            voiding::a_pending_charge_can_be_voided,
            voiding::a_capture_after_a_void_takes_no_money,
            refunding::a_repeated_refund_with_the_same_id_is_paid_once,
            refunding::partial_refunds_are_paid_up_to_the_captured_amount,
            refunding::a_failed_refund_is_reported_and_pays_no_money,
            refunding::a_refund_is_pending_until_the_bank_settles_it,
            refunding::a_lost_refund_is_not_paid_again,
            notices::signed_webhooks_report_the_state_of_a_charge,
            notices::webhooks_report_refunds,
            notices::webhooks_in_any_order_and_repeated_lead_to_the_same_payment,
            notices::a_changed_webhook_is_refused,
            notices::a_webhook_signed_with_another_secret_is_refused,
            notices::a_webhook_with_an_old_or_future_signature_is_refused,
            notices::a_webhook_without_a_signature_is_refused,
            notices::either_signature_is_accepted_while_a_secret_is_replaced,
            notices::webhooks_about_other_objects_are_ignored_and_unreadable_ones_refused,
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

/// A charge of 100.00 for a new payment, captured automatically.
fn request(method: &str) -> ChargeRequest {
    request_in(CaptureMode::Automatic, method)
}

/// A charge of 100.00 for a new payment, captured manually.
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

/// The charge after the report of the provider was recorded.
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

/// Authorized amount, captured amount, and ending.
fn figures(report: &ProviderReport) -> (i64, i64, Option<&'static str>) {
    let ending = match &report.ending {
        None => None,
        Some(ChargeEnding::Voided) => Some("voided"),
        Some(ChargeEnding::Failed { retryable: true, .. }) => Some("failed for now"),
        Some(ChargeEnding::Failed { retryable: false, .. }) => Some("failed for good"),
    };
    (report.authorized.minor_units(), report.captured.minor_units(), ending)
}

/// Charges, and returns the charge after the report was recorded.
async fn given_charge(fixture: &impl Fixture, request: ChargeRequest) -> ChargeRequest {
    let answer = fixture.provider().charge(&request).await.expect("the provider must answer");
    known_by(&request, &answer.report)
}
