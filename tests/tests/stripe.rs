//! Rules of the Stripe adapter, against a stateful test double. The rules for every provider are in
//! `payment_provider_contract`.

mod captures;
mod charges;
mod errors;
mod refunds;
mod requests;
mod terms;
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

/// The adapter, with the clock of the double.
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

/// A charge of 100.00 that was recorded now and is captured automatically.
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

/// The same request with manual capture.
fn captured_apart(mut request: ChargeRequest) -> ChargeRequest {
    request.charge.capture = CaptureMode::Manual;
    request
}

/// The charge after the report of the provider was recorded.
fn known_by(request: &ChargeRequest, report: &ProviderReport) -> ChargeRequest {
    let mut known = request.clone();
    known.charge.reference = Some(report.reference.clone());
    known
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

/// The figures of a charge that is paid in full.
const PAID: (i64, i64, Option<&str>) = (10_000, 10_000, None);

fn moved(double: &StripeDouble, request: &ChargeRequest) -> Moved {
    double.moved("orderly_payment", &request.payment_id.to_string())
}
