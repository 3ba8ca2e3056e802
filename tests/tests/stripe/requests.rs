//! The requests of the adapter, validated by Stripe's mock server.

use std::time::Duration;

use domain::RefundId;
use infra::payment_provider::{PaymentProvider, RefundRequest};
use tests::stripe::{Request, StripeDouble};
use uuid::Uuid;

use super::{amount, captured_apart, charge, double, known_by, options, provider_with};

/// Every kind of request that the adapter sends.
async fn given_requests(double: &StripeDouble) -> Vec<Request> {
    let provider = provider_with(double, options(double).with_multicapture());
    let old = charge(double, "pm_card_visa");
    double.advance(Duration::from_hours(25));
    provider.charge(&old).await.unwrap();
    let paid = captured_apart(charge(double, "pm_card_visa"));
    let paid = known_by(&paid, &provider.charge(&paid).await.unwrap().report);
    provider.capture(&paid, amount(4_000), amount(4_000)).await.unwrap();
    let refund = RefundRequest {
        charge: paid.clone(),
        refund_id: RefundId(Uuid::new_v4()),
        amount: amount(100),
        requested_at: paid.requested_at,
    };
    provider.refund(&refund).await.unwrap();
    provider.refund(&refund).await.unwrap();
    double.advance(Duration::from_hours(25));
    provider.refund(&refund).await.unwrap();
    provider.void(&paid).await.unwrap();
    provider.charge(&charge(double, "pm_card_visa_chargeDeclined")).await.unwrap();
    double.requests()
}

fn kinds(requests: &[Request]) -> Vec<String> {
    let kind = |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let part = |part: &str| {
            if part.starts_with("pi_") || part.starts_with("re_") { "*".to_owned() } else { part.to_owned() }
        };
        format!("{} {}", request.method, path.split('/').map(part).collect::<Vec<_>>().join("/"))
    };
    let mut kinds: Vec<String> = requests.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Sends a request to Stripe's mock server, which validates it against Stripe's OpenAPI description and has
/// no state.
async fn verdict(http: &reqwest::Client, request: &Request, body: &str) -> (u16, String) {
    let url = format!("{}{}", std::env::var("ORDERLY_TEST_STRIPE_MOCK").unwrap(), request.path);
    let mut sent = http
        .request(request.method.parse().unwrap(), url)
        .bearer_auth("sk_test_123")
        .header("stripe-version", request.stripe_version.as_deref().unwrap_or_default());
    if request.method == "POST" {
        sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
    }
    let answer = sent.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
#[ignore = "needs stripe-mock: infra/dev/services up; source .dev/env"]
async fn every_request_is_valid_by_stripes_openapi_description() {
    let (double, http) = (double().await, reqwest::Client::new());
    let requests = given_requests(&double).await;
    assert_eq!(
        kinds(&requests),
        [
            "GET /v1/payment_intents/*",
            "GET /v1/payment_intents/search",
            "GET /v1/refunds",
            "GET /v1/refunds/*",
            "POST /v1/payment_intents",
            "POST /v1/payment_intents/*/cancel",
            "POST /v1/payment_intents/*/capture",
            "POST /v1/payment_intents/*/confirm",
            "POST /v1/refunds",
        ]
    );
    for request in &requests {
        let (status, answer) = verdict(&http, request, &request.body).await;
        assert_eq!(status, 200, "{request:?} was answered {answer}");
    }
    // Proves that the mock server validates: it refuses an unknown member and an unknown version.
    let created = requests.iter().find(|request| request.path == "/v1/payment_intents").unwrap();
    let (status, _) = verdict(&http, created, &format!("{}&nonsense=1", created.body)).await;
    assert_eq!(status, 400);
    let other_version = Request { stripe_version: Some("2020-08-27".to_owned()), ..created.clone() };
    assert_eq!(verdict(&http, &other_version, &created.body).await.0, 400);
}
