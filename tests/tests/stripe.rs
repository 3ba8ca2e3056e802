//! The adapter of Stripe against a double that keeps state: what is particular to Stripe. What every provider must do is
//! in `payment_provider_contract`.

mod captures;
mod charges;
mod errors;
mod refunds;
mod requests;
mod webhooks;

use domain::{
    Amount, OrderId, PaymentId, Timestamp,
    payment::{CaptureMode, Charge, ChargeEnding, ChargeState, ProviderReport},
};
use infra::{
    clock::Clock,
    payment_provider::{
        ChargeRequest,
        stripe::{StripeOptions, StripeProvider},
    },
};
use tests::stripe::{Moved, SECRET_KEY, StripeDouble, WEBHOOK_SECRET};
use uuid::Uuid;

async fn double() -> StripeDouble {
    StripeDouble::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// The adapter, by the clock of the double.
fn provider(double: &StripeDouble) -> StripeProvider {
    provider_with(double, options(double))
}

fn provider_with(double: &StripeDouble, options: StripeOptions) -> StripeProvider {
    let double = double.clone();
    StripeProvider::new(options, Clock::given_by(move || double.now())).unwrap()
}

fn options(double: &StripeDouble) -> StripeOptions {
    StripeOptions::new(SECRET_KEY, WEBHOOK_SECRET).unwrap().with_api_url(&double.url()).unwrap()
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// A charge of 100.00 that is recorded now and captured in the same step.
fn charge(double: &StripeDouble, method: &str) -> ChargeRequest {
    let order_id = OrderId(Uuid::new_v4());
    let charge = Charge {
        number: 1,
        provider: "stripe".to_owned(),
        method: method.to_owned(),
        amount: amount(10_000),
        capture: CaptureMode::Automatic,
        reference: None,
        authorized: Amount::ZERO,
        captured: Amount::ZERO,
        capture_requested: Amount::ZERO,
        state: ChargeState::Requested,
    };
    let (payment_id, currency) = (PaymentId(Uuid::new_v4()), "GBP".parse().unwrap());
    let requested_at: Timestamp = double.now();
    ChargeRequest { payment_id, order_id, currency, charge, requested_at }
}

fn captured_apart(mut request: ChargeRequest) -> ChargeRequest {
    request.charge.capture = CaptureMode::Manual;
    request
}

/// The charge as it is known once the provider has reported.
fn known_by(request: &ChargeRequest, report: &ProviderReport) -> ChargeRequest {
    let mut known = request.clone();
    known.charge.reference = Some(report.reference.clone());
    known
}

/// What was authorized, what was captured, and how it ended.
fn figures(report: &ProviderReport) -> (i64, i64, Option<&'static str>) {
    let ending = match &report.ending {
        None => None,
        Some(ChargeEnding::Voided) => Some("voided"),
        Some(ChargeEnding::Failed { retryable: true, .. }) => Some("failed for now"),
        Some(ChargeEnding::Failed { retryable: false, .. }) => Some("failed for good"),
    };
    (report.authorized.minor_units(), report.captured.minor_units(), ending)
}

const PAID: (i64, i64, Option<&str>) = (10_000, 10_000, None);

fn moved(double: &StripeDouble, request: &ChargeRequest) -> Moved {
    double.moved("orderly_payment", &request.payment_id.to_string())
}
